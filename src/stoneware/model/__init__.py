"""What a machine is and has, as plain data with its rules. It knows no platform."""
