"""Language models that simulate and explain."""
