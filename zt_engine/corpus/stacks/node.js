// A program on node's own HTTP server: names in lower case, `-` and `_` apart, the path as `new URL` reads it.
"use strict";
const http = require("node:http");

const IDENTITY = process.argv[2].split(",");
const MARK = process.argv[3].toLowerCase();
const RECORD = process.argv[4];
const OVERRIDES = ["x-http-method-override", "x-method-override", "x-http-method"];
const PATHS = ["x-original-url", "x-rewrite-url"];

const decoded = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};
const escaped = (unit) => "\\u" + unit.charCodeAt(0).toString(16).padStart(4, "0");
const hostName = (host) => host.toLowerCase().replace(/:\d+$/, "");
const distinct = (list) => [...new Set(list)];

const execution = (request) => {
  const said = (name) => [request.headers[name] ?? ""].flat().join(", ");
  const resources = [decoded(request.url.split("?")[0].replace(/^https?:\/\/[^/]*/, ""))];
  const hosts = [hostName(said("host"))];
  try {
    const url = new URL(request.url, "http://" + said("host"));
    resources.push(decoded(url.pathname));
    if (url.hostname) hosts.push(url.hostname);
  } catch {
    // An application would answer 400; the raw path stays as a reading.
  }
  PATHS.filter(said).forEach((name) => resources.push(decoded(said(name).split("?")[0])));
  if (said("x-forwarded-prefix")) resources.push(said("x-forwarded-prefix").replace(/\/+$/, "") + resources[0]);
  if (said("x-forwarded-host")) hosts.push(hostName(said("x-forwarded-host").split(",")[0].trim()));
  const methods = [request.method, ...OVERRIDES.filter(said).map((name) => said(name).toUpperCase())];
  const known = IDENTITY.filter((name) => name in request.headers);
  return {
    stack: "node",
    probe: said(MARK),
    target: request.url,
    methods: distinct(methods),
    hosts: distinct(hosts.filter(Boolean)),
    resources: distinct(resources),
    identity: Object.fromEntries(known.map((name) => [name, said(name)])),
  };
};

const server = http.createServer((request, response) => {
  request.resume();
  // In a header, so that HEAD is told as well; ASCII alone may stand there.
  const record = JSON.stringify(execution(request)).replace(/[\u0080-\uffff]/g, escaped);
  response.writeHead(200, { [RECORD.slice(0, -1)]: record, "Content-Length": 0, Connection: "close" });
  response.end();
});
server.listen(0, "127.0.0.1", 511, () => console.log(server.address().port));
// Whoever started this holds the other end of standard input: when it ends, so does this.
process.stdin.resume().on("end", () => process.exit(0));
