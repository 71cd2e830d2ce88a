"""The four stages: the only place where science meets specification.

Each is `run(parameters, inputs, folder, context)`: it reads the artifacts in `inputs`, fills `folder`, and is the
method section of what its parameters say.
"""
