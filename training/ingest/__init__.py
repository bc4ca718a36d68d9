"""From a robot's recordings to shards: finding bags and their topics, choosing frames, measuring depth, in parallel."""
