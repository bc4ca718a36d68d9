"""How long the node takes from an image's stamp to its depth, as a subscriber sees it."""
