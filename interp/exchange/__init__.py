"""Results of other tools: their explanations read, and our own in their layouts."""
