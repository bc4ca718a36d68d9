"""Depth Anything as a ROS 2 node."""
