"""The ROS 2 node: parameters, scheduling, diagnostics. The only folder that imports rclpy."""
