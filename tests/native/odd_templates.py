"""Templates beside the way of chats, and what they are rendered with: white space, order of operators, scopes, text.

Knows nothing about who renders them.
"""

from typing import Any

CONTEXTS: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "system", "content": " Be brief.\n"},
            {"role": "user", "content": "Où est 東京? 👍"},
            {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {"a": [1, 2.5, None]}}]},
        ],
        "n": 3,
        "x": "outer",
        "items": [3, 1, 2],
        "nested": {"a": {"b": ["c", {"d": 1.0}]}, "items": 5, "get": 1},
        "flag": True,
    },
    {"messages": [], "n": 0, "x": "", "items": [], "nested": {}, "flag": False},
    {
        "messages": [{"role": "user", "content": [{"type": "text", "text": 'it\'s "é"\t\\'}]}] * 3,
        "n": -7,
        "x": "ß İ ǅ \x85\u2028\u200b",
        "items": ["b", "A", "ä", "a"],
        "nested": {"a": {"b": [[], {"d": None}]}},
        "flag": None,
    },
]

ODD = [
    # white space
    "  {%- if flag %}\n  a\n  {%- endif %}\n  b",
    "\n\n  {% if true %}  \n x \n  {% endif %}  \n\ny\n\n",
    "a\n  {#- c -#}  \n b {# d #}\n  {# e #}\n f",
    "{%- for i in items -%} {{ i }} , {%- endfor -%} .",
    "  {%+ if true +%}\n  x{% endif %}\n",
    "x {{- '  a ' -}} \n y {{+ 1 }}{{-1}}",
    "{% raw %}\n {{ a }} {%- x -%} \n{% endraw %}\nb",
    "{%- raw -%}  a  {%- endraw -%}  b",
    "a{% raw %}{# no #}{% endraw +%}\nb",
    "\r\na\rb\r\n{{ 'c\r\nd' }}\r\n\r\n",
    "{{ 1 }}\n{{ 2 }}\n  {{ 3 }}\n",
    "\t {% set a = 1 %}\n\t {{ a }}\n",
    "{# a\nb #}\n{# c -#}   d",
    "\u3000{%- if true %} \u2003{% endif -%}\u2028x",
    "{{ '{{' }}{{ '}}' }}{ {% if true %}}{% endif %}{ %}#}",
    "{%set a=1%}{{a}}{%if a==1%}y{%endif%}",
    "",
    "\n",
    "\n\n",
    "   {% if true %}   {% endif %}   ",
    # order of operators
    "{{ 1 + 2 * 3 ** 2 - 4 / 2 }} {{ (1 + 2) * 3 }} {{ -3 ** 2 }} {{ 2 ** -1 }} {{ 7 // 2 * 2 }}",
    "{{ 1 ~ 2 * 3 }} {{ 'a' + 'b' ~ 2 }} {{ -1 | abs }} {{ (-1) | abs }} {{ 1 - 1 | abs }}",
    "{{ not true and false }} {{ not (true and false) }} {{ true or false and false }}",
    "{{ 1 if false }}|{{ 1 if true else 2 if true else 3 }}|{{ (1 if false else 2) if true else 3 }}",
    "{{ 1 < 2 == true }} {{ 1 < 3 > 2 }} {{ 3 in [3] == true }} {{ 1 not in [2] and 2 in [2] }}",
    "{{ n % 3 }} {{ n // 2 }} {{ n / 2 }} {{ -n % 3 }} {{ n % -3 }} {{ n * 1.5 }} {{ n ** 2 }}",
    "{{ 7.5 % 2 }} {{ -7.5 // 2 }} {{ 7 % 2.5 }} {{ 0.1 + 0.2 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 123456789012345680.0 }}",
    "{{ true + true }} {{ true * 3 }} {{ false == 0 }} {{ +true }} {{ -true }} {{ 1.0 == 1 }}",
    "{{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ (1, 'a') == (1, 'a') }} {{ [1] == (1,) }} {{ 'é' > 'z' }}",
    "{{ 'abc' 'def' }} {{ 'a' in 'abc' }} {{ '' in '' }} {{ 'b' not in {'b': 1} }}",
    "{{ none is none }} {{ x is defined and x is string }} {{ y is defined }} {{ not y is defined }}",
    (
        "{{ 5 is odd }} {{ 4 is even }} {{ 4 is divisibleby 2 }} {{ 4 is divisibleby(3) }} {{ 1 is eq 1 }}"
        " {{ 3 is gt(2) }}"
    ),
    "{{ n is number and n is not float }} {{ 1.0 is float }} {{ true is boolean }} {{ items is sequence }}",
    "{{ nested is mapping }} {{ nested is iterable }} {{ x is iterable }} {{ n is iterable }} {{ x is none }}",
    "{{ [1, 2, 3] is sameas none }} {{ none is sameas none }} {{ false is sameas false }} {{ 0 is sameas false }}",
    "{{ 2 is in [1, 2] }} {{ 'upper' is lower }} {{ 'UP' is upper }} {{ range is callable }} {{ x is callable }}",
    "{{ [[1, 2], [3]] | map('first') | list }} {{ ['a', 'b'] | map('upper') | join('-') }}",
    # numbers and texts
    "{{ 1_000 }} {{ 0x1F }} {{ 0b11 }} {{ 0o17 }} {{ 00 }} {{ 1.50 }} {{ 10.0 }} {{ 1e16 }} {{ 1e15 }} {{ -0.0 }}",
    "{{ '\\x41\\u00e9\\U0001F44D\\101\\n\\t\\'\\\"\\\\ \\q' }} {{ \"it's\" }} {{ 'a\\\nb' }}",
    "{{ 'é'.upper() }} {{ '\\é' }} {{ '👍a'[1] }} {{ '東京'[::-1] }} {{ '東京' | length }} {{ 'é' ~ 1.0 ~ none }}",
    "{{ [1.0, 'a\\'b', \"c\\\"d\", none, true, (1,), {}] }} {{ {'k': ['v', {'é': '\\n'}]} }} {{ () }}",
    "{{ x }}|{{ x | upper }}|{{ [x] }}|{{ x | length }}|{{ x | tojson }}",
    (
        "{{ 'ab cd'.title() }} {{ \"it's\".title() }} {{ 'hello WORLD' | title }} {{ 'hELLO' | capitalize }}"
        " {{ 'aBc'.swapcase() }}"
    ),
    "{{ '  a '.strip() }}|{{ '  a '.lstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcba'.rstrip('ab') }}|{{ ' a ' | trim }}",
    (
        "{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a,b,c'.rsplit(',', 1) }}"
        " {{ ''.split() }}"
    ),
    "{{ ' a b '.split(none, 1) }} {{ ' a b '.rsplit(none, 1) }} {{ ' a  b '.split(none, 0) }}{#",
    (
        "{{ 'a-b'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'ab'.partition('x') }}"
        " {{ 'a\\nb\\r\\nc'.splitlines() }}"
    ),
    (
        "{{ 'abc'.find('c') }} {{ 'abc'.find('x') }} {{ 'éabc'.find('c') }} {{ 'abcabc'.rfind('b') }}"
        " {{ 'aaa'.count('a') }}"
    ),
    (
        "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.startswith('b', 1) }}"
        " {{ 'abc'.index('b') }}"
    ),
    (
        "{{ 'aXbX'.replace('X', '-') }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'ab' | replace('', '.') }}"
        " {{ 121 | replace(1, 3) }}"
    ),
    "{{ 'x'.center(4) }}|{{ 'x'.ljust(3, '.') }}|{{ 'x'.rjust(3) }}|{{ '7'.zfill(3) }}|{{ 'x' | center(6) }}|",
    "{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ '-'.join(['a', 'b']) }} {{ ','.join('abc') }}",
    (
        "{{ 'abc'.isalpha() }} {{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ 'Ab'.istitle() }}"
        " {{ 'é'.islower() }}"
    ),
    (
        "{{ 'abcdef'[1:4] }} {{ 'abcdef'[::2] }} {{ 'abcdef'[::-2] }} {{ 'abc'[5:] }} {{ 'abc'[-2:] }}"
        " {{ 'abc'[:-1] }} {{ 'abc'[2:0:-1] }}"
    ),
    (
        "{{ [1, 2, 3][::-1] }} {{ (1, 2, 3)[1:] }} {{ [1, 2, 3][-5:2] }} {{ items[0] }} {{ items[9] }}"
        " {{ items[-1] }} {{ range(9)[2:8:2] }}"
    ),
    (
        "{{ '%s is %d and %.2f' % ('a', 3, 1.005) }} {{ '%5s|%-5s|%05d|%x|%r' % ('a', 'b', 42, 255, 'c') }}"
        " {{ '%(a)s%%' % {'a': 1} }}"
    ),
    (
        "{{ '{} {1}'.format(1, 2) if false else '{0} {1} {a}'.format(1, 2, a=3) }}"
        " {{ '{:>4}|{:^5}|{:.2f}|{:,}'.format('a', 'b', 1.5, 12345) }}"
    ),
    (
        "{{ '%s' | format('a') }} {{ '%(k)s' | format(k='v') }} {{ 'a b' | wordcount }}"
        " {{ 'long text here' | truncate(8, true) }}"
    ),
    "{{ 'a\\nb\\n\\nc' | indent }} {{ 'a\\nb' | indent(2, true) }} {{ 'a\\n\\nb' | indent('> ', blank=true) }}",
    (
        "{{ '3' | int + 1 }} {{ '3.9' | int }} {{ 'x' | int }} {{ 'x' | int(-1) }} {{ '0x1f' | int(base=16) }}"
        " {{ 3.9 | int }} {{ '1.5' | float }}"
    ),
    (
        "{{ 2.5 | round }} {{ 2.567 | round(2) }} {{ 2.1 | round(method='ceil') }} {{ 2.9 | round(0, 'floor') }}"
        " {{ 7 | round }} {{ -3 | abs }}"
    ),
    (
        "{{ '<a> & \"b\"' | e }} {{ '<a>' | escape | length }} {{ ('<a>' | safe) ~ '<' }} {{ ('<a>' | safe) + '<' }}"
        " {{ '<' | safe | upper }}"
    ),
    # items
    (
        "{{ items | sort }} {{ items | sort(reverse=true) }} {{ items | first }} {{ items | last }}"
        " {{ items | reverse | list }}"
    ),
    (
        "{{ items | min }} {{ items | max }} {{ items | unique | list }} {{ items | join(', ') }}"
        " {{ items | length }} {{ items | count }}"
    ),
    (
        "{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 'x') | list }}"
        " {{ [1, 2, 3, 4, 5] | slice(3) | list }}"
    ),
    "{{ [1, 2.5] | sum }} {{ [{'a': 1}, {'a': 2}] | sum(attribute='a') }} {{ [] | sum }} {{ [3, 1] | sum(start=10) }}",
    "{{ messages | map(attribute='role') | list }} {{ messages | map(attribute='tool_calls', default='-') | list }}",
    (
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
        " {{ messages | rejectattr('content') | list | length }}"
    ),
    (
        "{{ [0, 1, 2, none, ''] | select | list }} {{ [1, 2, 3] | select('odd') | list }}"
        " {{ [1, 2, 3] | reject('gt', 1) | list }}"
    ),
    (
        "{{ {'b': 1, 'a': 2} | dictsort }} {{ {'b': 1, 'a': 2} | dictsort(by='value', reverse=true) }}"
        " {{ {'B': 1, 'a': 2} | dictsort(true) }}"
    ),
    (
        "{{ {'a': 1}.items() }} {{ {'a': 1}.keys() | list }} {{ {'a': 1}.values() | list }}"
        " {{ {'a': 1} | items | list }} {{ {} | length }}"
    ),
    "{% for k, v in nested | dictsort %}{{ k }}={{ v }};{% endfor %}{% for k in nested %}{{ k }},{% endfor %}",
    "{{ nested.a.b }} {{ nested['a']['b'][1].d }} {{ nested.zz }} {{ nested.get('zz', 'no') }} {{ nested['b'] }}",
    (
        "{% for g in [{'k': 2}, {'k': 1}, {'k': 2}] | groupby('k') %}{{ g.grouper }}:{{ g.list | length }} {{ g[0] }}"
        " {% endfor %}"
    ),
    "{{ [1, 2] + [3] }} {{ (1,) + (2,) }} {{ [0] * 3 }} {{ 'ab' * 2 }} {{ [1, [2, 3]] }} {{ [1, 2] == [1, 2] }}",
    (
        "{{ dict(a=1, b=[2]) }} {{ dict([('x', 1)], y=2) }} {{ dict({'a': 1}, b=2).b }} {{ {1: 'a', 'b': 2}[1] }}"
        " {{ {(1, 2): 3}[(1, 2)] }}"
    ),
    "{{ range(3) | list }} {{ range(5, 0, -2) | list }} {{ range(3) | length }} {{ 2 in range(3) }} {{ range(1, 4) }}",
    (
        "{{ 'abc' | list }} {{ 'abc' | first }} {{ 'abc' | last }} {{ 'cab' | sort }} {{ 'abc' | reverse }}"
        " {{ 'ab' | join('-') }}"
    ),
    (
        "{{ nothing | default('d') }} {{ '' | default('d') }} {{ '' | d('d', true) }} {{ none | default('d') }}"
        " {{ nothing | list }}"
    ),
    (
        "{{ nothing | length }} {{ nothing | join }} {{ nothing ~ 'a' }} {{ nothing == nothing2 }} {{ [nothing] }}"
        " {{ nothing is sequence }}"
    ),
    # json
    (
        "{{ nested | tojson }} {{ messages | tojson(indent=2) }} {{ x | tojson }}"
        " {{ [1, (2, 3), none, true, 1.0] | tojson }}"
    ),
    (
        "{{ {'b': 1, 'a': [{}]} | tojson(indent=4, sort_keys=true) }} {{ {'é': 1} | tojson(ensure_ascii=true) }}"
        " {{ [] | tojson(indent=1) }}"
    ),
    (
        "{{ {'a': [1]} | tojson(separators=(',', ':')) }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}"
        " {{ '</s>\\u007f' | tojson }}"
    ),
    # scopes
    "{% set a = 1 %}{% for i in [1, 2] %}{{ a }}{% set a = a + i %}{{ a }}{% endfor %}{{ a }}",
    "{{ x }}{% set x = 'inner' %}{{ x }}{% if true %}{% set x = 'if' %}{% endif %}{{ x }}",
    "{% for i in [1] %}{{ x }}{% endfor %}{% set x = 2 %}{% for i in [1] %}{{ x }}{% endfor %}",
    "{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% set x = 2 %}{{ m() }}",
    (
        "{% macro m(a, b='d', c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}"
        "{{ m() }}|{{ m(1) }}|{{ m(1, c=2) }}|{{ m(*[1, 2], **{'c': 3}) }}"
    ),
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% macro o(l) %}<{{ caller(l) }}{{ caller('z') }}>{% endmacro %}{% call(v) o(7) %}{{ v }}{{ x }}{% endcall %}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{{ caller is defined }}{% endmacro %}{{ m(1, 2, k=3) }}",
    (
        "{% set ns = namespace(a=1, b=[]) %}{% for i in [1, 2] %}{% set ns.a = ns.a * 3 %}{% set ns.b = ns.b + [i] %}"
        "{% endfor %}{{ ns.a }}{{ ns.b }}"
    ),
    "{% set a, b = 1, 2 %}{% set (c, d) = [3, 4] %}{{ a }}{{ b }}{{ c }}{{ d }}{% set e = 1, %}{{ e }}",
    "{% set t %}a {{ n }}{% endset %}{{ t | length }}{% set u | upper | replace('A', 'b') %}xa{% endset %}{{ u }}",
    "{% with a = n, b = 2 %}{{ a }}{{ b }}{% set a = 5 %}{{ a }}{% endwith %}{{ a }}",
    "{% filter upper | replace('A', '-') %}ab{% for i in items %}{{ i }}{% endfor %}{% endfilter %}",
    "{% for i in items %}{% for j in items %}{{ loop.index }}{{ i }}{{ j }}{% endfor %}{{ loop.index }}{% endfor %}",
    (
        "{% for i in items %}{{ loop.first }}{{ loop.last }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}"
        "{{ loop.length }}{{ loop.depth }}{% else %}none{% endfor %}"
    ),
    (
        "{% for i in items %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}"
        "{{ loop.changed(i) }}{% endfor %}"
    ),
    "{% for i in items if i != items[0] %}{{ i }}{{ loop.length }}{{ loop.last }}{% else %}none{% endfor %}",
    "{% for a, b in [(1, 2), [3, 4]] if b > 2 %}{{ a }}{{ b }}{{ loop.previtem }}{% endfor %}",
    (
        "{% for i in [1, [2, [3, 4]], 5] recursive %}{% if i is iterable %}[{{ loop(i) }}]{% else %}{{ loop.depth0 }}"
        "{{ i }}{% endif %}{% endfor %}"
    ),
    (
        "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}"
        "{% else %}x{% endfor %}"
    ),
    "{% for i in [1, 2] %}{% set f %}{{ i }}{% if i == 1 %}{% continue %}{% endif %}b{% endset %}{{ f }}{% endfor %}",
    (
        "{% for m in messages %}{% if loop.first %}{% set s = m.content %}{% endif %}{{ s }}|{% endfor %}"
        "{{ s is defined }}"
    ),
    "{% if n > 0 %}a{% elif n == 0 %}b{% elif x %}c{% else %}d{% endif %}{% if not flag %}e{% endif %}",
    "{% set g = items | map('string') %}{{ g | first }}{{ g | list }}{{ g | list }}",
    "{% generation %}a{% if true %}b{% endif %}{% endgeneration %}c{% print 1, 'a' %}",
    (
        "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}"
        "{% set j = joiner('|') %}{{ j() }}{{ j() }}{{ j() }}"
    ),
    "{{ strftime_now('%Y-%m-%d %H:%M %A %B %j %-d') }}{{ strftime_now('%d %b %Y') }}",
    (
        "{{ (messages | first).role }} {{ messages[0].role if messages else 'none' }}"
        " {{ (messages[0]['content'] is string) if messages }}"
    ),
]
