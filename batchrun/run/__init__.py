"""One job (worker) and many (pool): what is done, in which order, how fast, and how it stops."""
