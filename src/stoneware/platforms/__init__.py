"""The places where machines run: what is asked of one (`protocols`), and each in a package of its own."""
