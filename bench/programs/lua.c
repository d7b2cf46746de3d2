/* Lua 5.4, the distribution's library, running scripts that recurse, build strings, fill and sort tables, and make closures and objects. */
#define ROUNDS 400
#include "frame.h"
#include <lauxlib.h>
#include <lualib.h>

static const char SCRIPT[] =
    "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end\n"
    "local sum = fib(18)\n"
    /* Strings. */
    "local pieces = {}\n"
    "for i = 1, 400 do pieces[#pieces + 1] = string.format('%d:%s', i, ('ab'):rep(i % 5)) end\n"
    "local text = table.concat(pieces, ',')\n"
    "for word in text:gmatch('[^,]+') do sum = sum + #word end\n"
    "sum = sum + #text:gsub('ab', 'xyz'):upper()\n"
    /* Tables. */
    "local list, x = {}, 42\n"
    "for i = 1, 1000 do x = (x * 1103515245 + 12345) % 2147483648; list[i] = x end\n"
    "table.sort(list)\n"
    "for i = 1, #list, 10 do sum = sum + list[i] % 1000 end\n"
    "local counts = {}\n"
    "for i = 1, #list do local k = 'k' .. list[i] % 37; counts[k] = (counts[k] or 0) + 1 end\n"
    "for _, n in pairs(counts) do sum = sum + n * n end\n"
    /* Closures and objects. */
    "local function counter(step) local n = 0; return function() n = n + step; return n end end\n"
    "local counters = {}\n"
    "for i = 1, 50 do counters[i] = counter(i) end\n"
    "for _ = 1, 20 do for i = 1, #counters do sum = sum + counters[i]() end end\n"
    "local Point = {}; Point.__index = Point\n"
    "Point.__add = function(a, b) return setmetatable({ x = a.x + b.x, y = a.y + b.y }, Point) end\n"
    "function Point:length2() return self.x * self.x + self.y * self.y end\n"
    "local p, q = setmetatable({ x = 0, y = 0 }, Point), setmetatable({ x = 0.5, y = 0.25 }, Point)\n"
    "for _ = 1, 1000 do p = p + q; sum = sum + p:length2() % 3 end\n"
    "return math.floor(sum)\n";

static void setup(void) {}

static uint32_t work(void)
{
    lua_State *lua = luaL_newstate();
    luaL_openlibs(lua);
    if (luaL_dostring(lua, SCRIPT) != LUA_OK) fail(lua_tostring(lua, -1));
    uint32_t result = (uint32_t)lua_tointeger(lua, -1);
    lua_close(lua);
    return result;
}
