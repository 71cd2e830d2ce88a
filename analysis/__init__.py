"""Tables and figures compiled from finished evaluations; reads them through `bench.results`, never imports torch."""
