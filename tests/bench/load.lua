-- For wrk: callbacks that each have an id of their own, for some seconds; then wait for the answers.
-- wrk itself hangs up on what is under way when its time is over, and nobody could say what was acknowledged.
-- After `--`: the file of the request's template, what tells this run's ids from others, seconds.
local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds, nanoseconds; } bench_time; int clock_gettime(int, bench_time *);")
local now = ffi.new("bench_time")
local parts, run, number, seconds, stop_at = {}, "", 0, 0, 0

local function clock()
  ffi.C.clock_gettime(1, now)
  return tonumber(now.seconds) + tonumber(now.nanoseconds) / 1e9
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local template = file:read("*a")
  file:close()
  run, seconds = args[2], tonumber(args[3])
  local from = 1
  while true do
    local first, last = template:find("@ID@", from, true)
    parts[#parts + 1] = template:sub(from, (first or 0) - 1)
    if not first then break end
    from = last + 1
  end
end

function request()
  number = number + 1
  if number <= 2 then stop_at = clock() + seconds end -- the first one is wrk's own trial, and is not sent
  if clock() >= stop_at then return "" end
  local id = string.format("%08x-%s-%08x", number * 2654435761 % 4294967296, run, number)
  return table.concat(parts, id)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "p50": %d, "p99": %d, "bad": %d, "broken": %d}\n',
    summary.requests, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
