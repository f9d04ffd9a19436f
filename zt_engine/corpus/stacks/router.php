<?php
// A program on PHP's own server: `-`, `_`, `.` and blanks in names are one, the last repeated header counts.
const OVERRIDES = ["HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_METHOD_OVERRIDE", "HTTP_X_HTTP_METHOD"];
const PATHS = ["HTTP_X_ORIGINAL_URL", "HTTP_X_REWRITE_URL"];

function said(string $name): string { return (string) ($_SERVER[$name] ?? ""); }
function server_name(string $header): string { return "HTTP_" . strtoupper(str_replace("-", "_", $header)); }
function host_name(string $host): string { return preg_replace('/:\d+$/', "", strtolower($host)); }
function utf8(string $text): string { return mb_check($text) ? $text : utf8_bytes($text); }
function mb_check(string $text): bool { return preg_match('//u', $text) === 1; }
function utf8_bytes(string $text): string {
    return preg_replace_callback('/[\x80-\xff]/', fn($m) => "\u{FFFD}", $text);
}

$target = said("REQUEST_URI");
$path = rawurldecode(explode("?", preg_replace('~^https?://[^/]*~i', "", $target), 2)[0]);
$resources = [$path, said("SCRIPT_NAME") . said("PATH_INFO")];
foreach (PATHS as $name) {
    if (said($name) !== "") { $resources[] = rawurldecode(explode("?", said($name), 2)[0]); }
}
if (said("HTTP_X_FORWARDED_PREFIX") !== "") { $resources[] = rtrim(said("HTTP_X_FORWARDED_PREFIX"), "/") . $path; }
$methods = [said("REQUEST_METHOD")];
foreach (OVERRIDES as $name) {
    if (said($name) !== "") { $methods[] = strtoupper(said($name)); }
}
$hosts = [host_name(said("HTTP_HOST"))];
if (said("HTTP_X_FORWARDED_HOST") !== "") { $hosts[] = host_name(said("HTTP_X_FORWARDED_HOST")); }
$identity = [];
foreach (explode(",", getenv("corpus_identity")) as $name) {
    if (isset($_SERVER[server_name($name)])) { $identity[$name] = utf8(said(server_name($name))); }
}
// In a header, so that HEAD is told as well.
header(getenv("corpus_record") . " " . json_encode([
    "stack" => "php",
    "probe" => utf8(said(server_name(getenv("corpus_mark")))),
    "target" => utf8($target),
    "methods" => array_values(array_unique($methods)),
    "hosts" => array_values(array_unique(array_filter($hosts))),
    "resources" => array_values(array_unique(array_map("utf8", $resources))),
    "identity" => (object) $identity,
]));
return true;
