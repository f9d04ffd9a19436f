"""Browser sign-in through the proxy: `/.zt/login`, `/.zt/callback` and `/.zt/logout` of every host."""
