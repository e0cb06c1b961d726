"""Machines: started, watched, entered, copied from and to, stopped, removed."""
