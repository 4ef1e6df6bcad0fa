"""Files and text from outside: how they are read and written safely."""
