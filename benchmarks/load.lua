-- What wrk sends, and how it reports. The words behind `--` are bodies, which take turns.
--   LOAD_PORTS    ports of the servers, one thread of wrk for each; default: the one of the URL
--   LOAD_CONFIRM  when set, each number that is reserved is confirmed by the next request
-- A single body makes no function `request`, so that wrk sends one ready string and never calls Lua.

local ports = {}
for port in (os.getenv("LOAD_PORTS") or ""):gmatch("%d+") do table.insert(ports, port) end

local threads = 0
function setup(thread)
    threads = threads + 1
    if ports[threads] then thread.addr = wrk.lookup(wrk.host, ports[threads])[1] end
end

local function in_turn(requests)
    local turn = 0
    return function()
        turn = turn % #requests + 1
        return requests[turn]
    end
end

local function confirming(reserve, path)
    local tokens = {}
    response = function(status, _, body)
        if status == 201 then table.insert(tokens, body:match('"token":"(%x+)"')) end
    end
    return function()
        local token = table.remove(tokens)
        if not token then return reserve() end
        return wrk.format("POST", path .. "/" .. token .. "/confirm", nil, '{"document":"D-1"}')
    end
end

function init(bodies)
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    wrk.body = bodies[1]
    local requests = {}
    for index, body in ipairs(bodies) do requests[index] = wrk.format(nil, nil, nil, body) end
    if #requests > 1 then request = in_turn(requests) end
    if os.getenv("LOAD_CONFIRM") then request = confirming(in_turn(requests), wrk.path) end
end

-- One line of JSON, the last that wrk prints. Times are in microseconds.
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"microseconds":%d,"requests":%d,"p50":%d,"p99":%d,"refused":%d,"broken":%d,"timeouts":%d}\n',
        summary.duration, summary.requests, latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect + errors.read + errors.write, errors.timeout
    ))
end
