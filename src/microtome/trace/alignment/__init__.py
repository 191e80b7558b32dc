"""The engine of causal abstraction: sites with cached values and the rest of the network, maps, fit, interchange."""
