"""People's pages on the control plane's own origin: `rooms` lists them, and a page is a route made on `page_router`."""
