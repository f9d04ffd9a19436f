"""Three kinds of program behind a proxy, each with its own way to fold names and paths: WSGI, Node, PHP."""
