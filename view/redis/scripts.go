package redis

import "github.com/redis/go-redis/v9"

// newer is what the scripts begin with: whether a value may be replaced by
// another. Both begin with a header, whose 64-bit numbers are compared by
// halves, as Lua's numbers hold 53 bits. (Comparing them as strings would go by
// the server's locale.) What is not a value of this form may be replaced, be it a
// list: one key of another program must not hold up all answers.
const newer = `
local function header(key)
  local v = redis.pcall('GETRANGE', key, 0, 17)
  if type(v) == 'table' then return '?' end
  return v
end
local function numbers(v)
  if #v < 18 or string.byte(v, 1) ~= 1 then return nil end
  return struct.unpack('>I4I4I4I4', v, 3)
end
local function newer(old, new)
  local a, b, c, d = numbers(old)
  if not a then return true end
  local p, q, r, s = numbers(new)
  if a ~= p then return a < p end
  if b ~= q then return b < q end
  if c ~= r then return c < r end
  return d <= s
end
`

// writeScript sets keys of one slot, each to a value unless a newer one is
// there. ARGV has for each key the value and how many milliseconds it is kept,
// 0 for ever. It returns how many were set.
var writeScript = redis.NewScript(newer + `
local written = 0
for i = 1, #KEYS do
  local value, ttl = ARGV[2*i-1], ARGV[2*i]
  if newer(header(KEYS[i]), value) then
    if ttl == '0' then redis.call('SET', KEYS[i], value)
    else redis.call('SET', KEYS[i], value, 'PX', ttl) end
    written = written + 1
  end
end
return written`)

// sweepScript deletes keys of one slot that are older than the header in
// ARGV[1]. It returns how many it deleted.
var sweepScript = redis.NewScript(newer + `
local deleted = 0
for i = 1, #KEYS do
  local old = header(KEYS[i])
  if old ~= '' and newer(old, ARGV[1]) then deleted = deleted + redis.call('DEL', KEYS[i]) end
end
return deleted`)

// writeFieldsScript sets fields of a hash as writeScript sets keys. ARGV[1] is
// how long the hash is kept; then come fields and values.
var writeFieldsScript = redis.NewScript(newer + `
for i = 2, #ARGV, 2 do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  if not old or newer(old, ARGV[i+1]) then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i+1]) end
end
if ARGV[1] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1`)

// sweepFieldsScript deletes the fields of a hash that are older than the header
// in ARGV[1]; the fields follow it.
var sweepFieldsScript = redis.NewScript(newer + `
local deleted = 0
for i = 2, #ARGV do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  if old and newer(old, ARGV[1]) then deleted = deleted + redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return deleted`)

// claimScript makes somebody the owner of the prefix, whose state is KEYS[1],
// unless another is, and has been heard of lately. ARGV: owner, token, host,
// how long an owner is waited for in milliseconds, the least epoch, and whether
// a token of the same owner need not be waited for. It returns 1, the epoch and
// whether there was a state already; or 0, and who owns it, where, and how long
// ago that was heard of.
var claimScript = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local s = redis.call('HMGET', KEYS[1], 'owner', 'token', 'host', 'epoch', 'heard')
local owner, token, host, epoch, heard = s[1], s[2], s[3], s[4], s[5]
if token and token ~= ARGV[2] and not (owner == ARGV[1] and ARGV[6] == '1') then
  local age = now - tonumber(heard or 0)
  if age < tonumber(ARGV[4]) then return {0, owner, host or '', age} end
end
local next = tonumber(ARGV[5])
if epoch and tonumber(epoch) >= next then next = tonumber(epoch) + 1 end
redis.call('HSET', KEYS[1], 'format', '1', 'owner', ARGV[1], 'token', ARGV[2], 'host', ARGV[3],
  'epoch', string.format('%.0f', next), 'heard', string.format('%.0f', now))
return {1, string.format('%.0f', next), token and 1 or 0}`)

// releaseScript has an owner, whose token is ARGV[1], not be waited for.
var releaseScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'heard', '0')
return 1`)

// raiseScript raises the stream time of the state KEYS[1], if there is one, to ARGV[1].
var raiseScript = redis.NewScript(`
if redis.call('HEXISTS', KEYS[1], 'token') == 0 then return 0 end
local before = redis.call('HGET', KEYS[1], 'stream_time')
if not before or tonumber(before) < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'stream_time', ARGV[1]) end
return 1`)

// advanceScript notes how far an owner has come: KEYS are the state, the
// positions and the changes; ARGV is the token, how long they are kept, how
// many changes are kept, the number of fields of the state, of positions and of
// changes, and then all of these. It returns 1; 0 if there is no state, which
// is lost then; or -1 if another owns it.
var advanceScript = redis.NewScript(`
local token = redis.call('HGET', KEYS[1], 'token')
if not token then return 0 end
if token ~= ARGV[1] then return -1 end
local at = 7
local function take(n)
  local list = {}
  for i = 1, n do list[i] = ARGV[at]; at = at + 1 end
  return list
end
local fields, positions = take(tonumber(ARGV[4])), take(tonumber(ARGV[5]))
for i = 1, tonumber(ARGV[6]) do
  local n = redis.call('HINCRBY', KEYS[1], 'changes', 1)
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'n', n, 'c', ARGV[at]); at = at + 1
end
for i = 1, #positions, 2 do redis.call('HSET', KEYS[2], positions[i], positions[i+1]) end
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], 'heard', string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)), unpack(fields))
if ARGV[2] ~= '0' then
  for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
end
return 1`)

// joinScript gives a writer among several its epoch: KEYS are what the last one
// was given and the state, ARGV[1] is the least.
var joinScript = redis.NewScript(`
local next = tonumber(ARGV[1])
for _, last in pairs({redis.call('GET', KEYS[1]), redis.call('HGET', KEYS[2], 'epoch')}) do
  if last and tonumber(last) >= next then next = tonumber(last) + 1 end
end
redis.call('SET', KEYS[1], string.format('%.0f', next))
return string.format('%.0f', next)`)

// scripts are all of them.
var scripts = []*redis.Script{writeScript, sweepScript, writeFieldsScript, sweepFieldsScript, claimScript, releaseScript, raiseScript, advanceScript, joinScript}
