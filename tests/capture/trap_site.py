"""A web site full of traps. Whatever should become a target says so by `data-target`, its accessible name."""

STYLE = "<!doctype html><meta charset=utf-8><style>body{margin:0;font:16px sans-serif}</style>"
# what a click at (x, y) of the window meets, by `data-target`: through frames and shadow roots, as a finger would
HIT = """([x, y]) => {
  let root = document, hit = null;
  for (;;) {
    hit = root.elementFromPoint(x, y);
    if (!hit) return null;
    if (hit.contentDocument) {
      const box = hit.getBoundingClientRect();
      x -= box.left + hit.clientLeft; y -= box.top + hit.clientTop; root = hit.contentDocument; continue;
    }
    const inner = hit.shadowRoot ?? window.shutRoots?.get(hit);
    if (!inner || inner === root) break;
    root = inner;
  }
  for (let node = hit; node; node = node.parentNode ?? node.host) {
    if (node.dataset?.target) return node.dataset.target;
    if (node.localName === 'label' && node.control?.dataset.target) return node.control.dataset.target;
  }
  return '';
}"""


def button(name: str, more: str = "") -> str:
    return f"<button data-target='{name}' {more}>{name}</button>"


OVERLAY = f"""{STYLE}<p>{button("Free")}</p><p style='margin-top:60px'>{button("Covered")}</p>
<p style='margin-top:60px'><button style='width:200px'>Half covered</button></p>
<div style='position:absolute;left:0;top:80px;width:300px;height:70px;background:#0003'></div>
<div style='position:absolute;left:100px;top:150px;width:300px;height:100px;background:#0003'></div>
<p style='pointer-events:none'><button>Dead</button></p><p><button style='opacity:0'>Invisible</button></p>
<p><button style='width:0;padding:0;border:0;overflow:hidden'>Zero</button></p><p><button disabled>Off</button></p>
<p style='position:absolute;left:-500px'><button>Far left</button></p>
<div style='width:80px;height:30px;overflow:hidden'>
<button style='margin-left:60px;width:80px'>Clipped</button></div>"""

STICKY = (
    f"""{STYLE}<header style='position:sticky;top:0;background:#ccc;padding:10px'>{button("Always here")}</header>
<main style='padding-top:20px'>"""
    + "".join(f"<p style='height:30px'>{button(f'Row {number}')}</p>" for number in range(40))
    + "</main>"
)

FRAMES = f"""{STYLE}<h1 style='height:40px'>Frames</h1>
<iframe style='margin-left:30px;border:5px solid;width:300px;height:100px' srcdoc="{
    (STYLE + button("Inside") + "<p style='height:200px'></p>" + button("Too deep")).replace('"', "&quot;")
}"></iframe><iframe sandbox style='width:200px;height:60px' srcdoc="<button>Other world</button>"></iframe>
<div style='position:absolute;left:60px;top:340px'>
<iframe style='width:300px;height:60px' srcdoc="{(STYLE + button("Under")).replace('"', "&quot;")}"></iframe></div>
<div style='position:absolute;left:0;top:330px;width:500px;height:90px;background:#0003'></div>"""

SHADOW = f"""{STYLE}<div id=first></div><div id=second></div>
<slot-host id=slotted>{button("Slotted")}</slot-host><script>
window.shutRoots = new Map();
first.attachShadow({{mode: 'open'}}).innerHTML = `{button("Open shadow")}`;
shutRoots.set(second, second.attachShadow({{mode: 'closed'}}));
shutRoots.get(second).innerHTML = `{button("Closed shadow")}`;
slotted.attachShadow({{mode: 'open'}}).innerHTML = '<b>Slot:</b> <slot></slot>';
</script>"""

ENDLESS = f"""{STYLE}<main></main><script>
let count = 0;
const more = () => {{ for (let i = 0; i < 30; i++) document.querySelector('main').insertAdjacentHTML('beforeend',
  `<p style='height:30px'><button data-target='Entry ${{count}}'>Entry ${{count++}}</button></p>`) }};
more();
addEventListener('scroll', () => scrollY + innerHeight > document.documentElement.scrollHeight - 200 && more());
</script>"""

WORDS = f"""{STYLE}<p>{button("Größe ändern")} {button("保存する")} {button("Café 🙂 menu")}</p>
<p dir=rtl>{button("مرحبا بالعالم")} <a href='#' data-target='קישור'>קישור</a></p>
<p style='width:120px'><a href='#x' data-target='A link that is broken over lines'>
A link that is broken over lines</a></p>
<p><span style='cursor:pointer' data-target='Plain span'>Plain span</span>
<input type=checkbox id=terms style='position:absolute;opacity:0;width:0;height:0' data-target='I agree'>
<label for=terms>I agree</label></p>
<p><a href='#1' data-target='search'><i class='fa fa-search' style='display:block;width:20px;height:20px'></i></a>
<button aria-label='Basket' data-target='Basket'><svg width=20 height=20><circle r=8 cx=10 cy=10 /></svg></button>
<button style='width:30px;height:30px'></button></p>"""

TWINS = f"""{STYLE}<table><tr><td>Ada</td><td><button data-target='Edit of Ada'>Edit</button></td></tr>
<tr><td>Bob</td><td><button data-target='Edit of Bob'>Edit</button></td></tr></table>
<p><a href='#a'>Read more</a></p><p><a href='#b'>Read more</a></p><p>{button("Only one")}</p>"""

OPENERS = f"""{STYLE}<button aria-haspopup=menu data-target='Tools' onclick='menu.hidden = !menu.hidden'>Tools</button>
<div role=menu id=menu hidden><a role=menuitem href='#c' data-target='Cut'>Cut</a></div>
<button aria-haspopup=dialog data-target='Ask' onclick='ask.showModal()'>Ask</button>
<dialog id=ask><h2>Sure?</h2>{button("Yes")}</dialog>
<button aria-haspopup=dialog data-target='Delete all'
onclick='fetch("/deed/deleted", {{method: "POST"}})'>Delete all</button>
<button aria-expanded=false data-target='Sneaky' onclick='fetch("/deed/posted", {{method: "POST"}})'>Sneaky</button>
<button aria-expanded=false data-target='Leave' onclick='location = "/deed/left"'>Leave</button>
<form action=/deed/sent method=post><input name=a value=1><input type=submit value=Send data-target='Send'></form>
<a href='/deed/logout'>Log out</a><a href='/private/x'>Private</a><a href='/file.pdf'>File</a>"""

FIELDS = f"""{STYLE}<p>{button("Before")}</p><p><input type=date aria-label=Day data-target=Day></p>
<p><input type=time aria-label=Hour data-target=Hour></p><p><video controls width=200 height=80></video></p>
<p style='position:relative'><input type=radio id=big style='position:absolute;width:22px;height:22px'>
<label for=big style='display:block;position:relative;width:120px;height:30px;background:#eee'>Big</label></p>
<p><a href='#m' data-target=Menu style='display:block;width:30px;height:30px;overflow:hidden;
text-indent:-999px'>Menu</a></p>
"""

MOVING = f"""{STYLE}<p>{button("Quiet")}</p><button id=runs style='position:absolute;top:100px'>Runs</button><script>
let at = 0; setInterval(() => {{ runs.style.left = (at = (at + 7) % 600) + 'px' }}, 10);</script>"""

ODD = f"""{STYLE}<p><button id=half></button></p><a href='http://['>No address</a><script>
document.title = 'half \\ud800 \\u001b[2J'; half.textContent = 'Half \\ud800'; alert('\\ud800\\u001b[2J');</script>"""

PERSONAL = f"""{STYLE}<title>Mail of ada@secret.example</title>
<p>{button("Save")} {button("Write to ada@secret.example")}</p>
<p>Call +49 170 555 12345 or ask Mrs Confidential.</p><input aria-label=Mail value='ada@secret.example'>
<p><a href='#x' title='Mrs Confidential'>Her page</a> <a href='of-ada@secret.example.html'>Profile</a></p>
<iframe srcdoc='<p>ada@secret.example</p>'></iframe>"""


def pages(other: str) -> dict:
    """path -> page, for `WebServer`; `other` is another origin."""
    pages = (
        "overlay",
        "sticky",
        "frames",
        "shadow",
        "endless",
        "words",
        "fields",
        "twins",
        "openers",
        "moving",
        "popup",
        "odd",
    )
    links = (*pages, "away", "gone", "slow")
    index = STYLE + "".join(f"<p><a href='/{name}' data-target='to {name}'>to {name}</a></p>" for name in links)
    return {
        "/": index, "/overlay": OVERLAY, "/sticky": STICKY, "/frames": FRAMES, "/shadow": SHADOW, "/endless": ENDLESS,
        "/words": WORDS, "/fields": FIELDS, "/twins": TWINS, "/openers": OPENERS, "/moving": MOVING, "/odd": ODD,
        "/away": (302, {"Location": f"{other}/stolen"}, ""), "/slow": (200, {}, None),
        "/popup": f"{STYLE}{button('Here')}<script>open('{other}/popup'); open('/popup-of-its-own')</script>",
        "/robots.txt": (200, {"Content-Type": "text/plain"}, "User-agent: *\nDisallow: /private/"),
    }  # fmt: skip
