"""Reading what somebody else made: texts, archives, trees of files. All bounded, and nothing believed."""
