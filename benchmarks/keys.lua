-- wrk script: sends requests that were written ahead. Arguments: offset, file of requests
--                                                    or: offset, file of heads, file of tails, file of numbers
local ffi = require("ffi")
local requests, tails, owners, order = {}, nil, nil, nil
local position, count = 0, 0

local function number_at(text, at)
  local a, b, c, d = text:byte(at, at + 3)
  return a + b * 256 + c * 65536 + d * 16777216
end

local function strings(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  local found, at = {}, 1
  while at <= #text do
    local length = number_at(text, at)
    found[#found + 1] = text:sub(at + 4, at + 3 + length)
    at = at + 4 + length
  end
  return found
end

function init(args)
  position = tonumber(args[1])
  requests = strings(args[2])
  count = #requests
  if args[3] then
    tails, owners = strings(args[3]), {}
    for i = 1, count do
      owners[i] = number_at(requests[i], 1) + 1
      requests[i] = requests[i]:sub(5)
    end
    local file = assert(io.open(args[4], "rb"))
    local raw = file:read("*a")
    file:close()
    count = #raw / 4
    order = ffi.new("uint32_t[?]", count)
    ffi.copy(order, raw, #raw)
    request = function()
      local key = order[position % count] + 1
      position = position + 1
      return requests[key] .. tails[owners[key]]
    end
  end
end

function request()
  position = position + 1
  return requests[position % count + 1]
end

function done(summary, latency, _)
  local e = summary.errors
  print(string.format(
    '{"requests":%d,"duration_us":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,' ..
    '"p50":%d,"p95":%d,"p99":%d,"max":%d}',
    summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(95), latency:percentile(99), latency.max))
end
