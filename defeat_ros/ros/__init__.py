"""The live side: node, player and recorder. Only here is rclpy imported."""
