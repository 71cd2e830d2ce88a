"""What training minimises, one file each: `loss(network, images, labels, *, recipe, seed, step, indices)`."""
