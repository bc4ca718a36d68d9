"""Bags of every kind in, MCAP bags out, through the rosbags library, which only reading and writing import."""
