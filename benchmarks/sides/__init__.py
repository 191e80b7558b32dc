"""The sides: one file for each library, one function for each benchmark that it takes part in."""
