"""The demo: a camera, the node and a subscriber, three processes that know each other through DDS only."""
