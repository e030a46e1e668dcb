-- What wrk asks: `wrk … URL -- KIND IDS`, where IDS is a file with a deployment's or an entity's id in each line.
local ids, kind = {}, ""
local environments = { "development", "staging", "production", "testing" }
local headers = { ["Content-Type"] = "application/json" }

function init(words)
    kind = words[1]
    for id in io.lines(words[2]) do ids[#ids + 1] = id end
    math.randomseed(tonumber(words[3]))
end

function request()
    local id = ids[math.random(#ids)]
    if kind == "get" then
        return wrk.format("GET", "/api/v1/deployments/" .. id)
    elseif kind == "list" then
        return wrk.format("GET", "/api/v1/deployments?page=" .. math.random(100))
    elseif kind == "entity" then
        return wrk.format("GET", "/api/v1/deployments/entity/" .. id .. "/deployments")
    end
    local body = '{"entity_id": "%s", "environment": "%s", "deployed_by": "bench", "config_override": {"replicas": %d}}'
    return wrk.format("POST", "/api/v1/deployments", headers, body:format(id, environments[math.random(4)], math.random(9)))
end

function done(summary, latency)
    local wrong = summary.errors
    io.write(string.format(
        '\n{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "wrong": %d}\n', summary.requests, summary.duration / 1e6,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, wrong.connect + wrong.read + wrong.write + wrong.status + wrong.timeout
    ))
end
