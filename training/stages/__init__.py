"""The stages of training, one module each: its settings and what it does with them."""
