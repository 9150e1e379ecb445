// What `elements.py` asks a document, in a world of its own that the page's scripts cannot touch. Boxes are CSS px.
(() => {
  // where a box is tried: its middle, the middles of its sides, and the diagonals, all inside a circle that fills it
  const POINTS = [[.5, .5], [.1, .5], [.9, .5], [.5, .1], [.5, .9], [.25, .25], [.75, .25], [.25, .75], [.75, .75]];
  const SMALL = 6, LARGE = .5, SHOWN = .75;  // px of a side; share of the window; share of a box inside the window
  const GLYPH = /[\p{L}\p{N}]/u;
  const GROUPS = 'tr,[role=row],li,[role=listitem],article,section,form,fieldset,dialog,nav,aside,header,footer,main,'
    + '[role=dialog],[role=group],[role=region],[role=navigation],[role=toolbar],[role=tabpanel],[role=menu],[aria-label]';
  const TITLES = 'h1,h2,h3,h4,h5,h6,legend,caption,th,[role=heading],strong,b,td,dt';

  const up = node => node.assignedSlot ?? node.parentNode ?? node.host ?? null;
  const squeeze = text => (text ?? '').replace(/\s+/g, ' ').trim();
  const labels = element => [...(element.labels ?? [])];

  // every element of a document or shadow root, open shadow roots below it too
  function* all(root) {
    for (const element of root.querySelectorAll('*')) {
      yield element;
      if (element.shadowRoot) yield* all(element.shadowRoot);
    }
  }

  // what a click at (x, y) of this document's window meets: the innermost element, through open shadow roots
  const under = (root, x, y) => {
    let hit = root.elementFromPoint(x, y);
    for (let inner; hit?.shadowRoot && (inner = hit.shadowRoot.elementFromPoint(x, y)) && inner !== hit;) hit = inner;
    return hit;
  };

  // a point of a frame's window in px of the window that the frame is in
  const inParent = (frame, x, y) => {
    const edge = frame.getBoundingClientRect(), scale = frame.offsetWidth ? edge.width / frame.offsetWidth : 1;
    return [edge.left + scale * (frame.clientLeft + x), edge.top + scale * (frame.clientTop + y)];
  };

  // whether no page further out has something over its frame at (x, y) of this window
  const uncovered = (x, y) => {
    for (let place = window; place !== place.parent; place = place.parent) {
      if (!place.frameElement) return false;
      [x, y] = inParent(place.frameElement, x, y);
      if (under(place.frameElement.getRootNode(), x, y) !== place.frameElement) return false;
    }
    return true;
  };

  // a box of this window in px of the topmost one
  const outermost = box => {
    let corners = [[box.left, box.top], [box.right, box.bottom]];
    for (let place = window; place !== place.parent; place = place.parent) {
      corners = corners.map(([x, y]) => inParent(place.frameElement, x, y));
    }
    return corners.flat();
  };

  // the target that gets a click at (x, y): the nearest of `targets` above what lies there
  const owner = (element, targets, x, y) => {
    const root = element.getRootNode();
    for (let host = root.host; host; host = host.getRootNode().host) {  // a closed shadow root: ask from outside
      if (under(host.getRootNode(), x, y) !== host && !host.shadowRoot) return null;
    }
    for (let node = under(root.mode === 'closed' ? root : document, x, y); node; node = up(node)) {
      if (targets.has(node)) return node;
      if (node.localName === 'label' && targets.has(node.control)) return node.control;
    }
    return null;
  };

  const largest = element => [...element.getClientRects()].filter(box => box.width && box.height)
    .sort((one, two) => two.width * two.height - one.width * one.height)[0];
  const seen = element => element.checkVisibility({opacityProperty: true, visibilityProperty: true});

  // a checkbox drawn by its label, or with the label over it, is where the label is
  const drawn = element => {
    const label = ['checkbox', 'radio'].includes(element.type) && labels(element).find(seen);
    const own = label && seen(element) && largest(element);
    if (!label || own && own.width >= SMALL && own.height >= SMALL
        && !label.contains(under(document, own.left + own.width / 2, own.top + own.height / 2))) return element;
    return element.contains(label) || label.contains(element) && own?.width >= SMALL ? element : label;
  };

  const cut = (box, by) => ({
    left: Math.max(box.left, by.left), top: Math.max(box.top, by.top),
    right: Math.min(box.right, by.right), bottom: Math.min(box.bottom, by.bottom),
  });
  const area = box => Math.max(0, box.right - box.left) * Math.max(0, box.bottom - box.top);

  // the part of a box which no scrolling or clipping ancestor hides, within the window
  const clipped = (element, box) => {
    for (let node = element, fixed = false; node && !fixed; node = up(node)) {
      if (!(node instanceof Element)) continue;
      const style = getComputedStyle(node);
      if (node !== element && (style.overflowX !== 'visible' || style.overflowY !== 'visible')
          && node !== document.body && node !== document.documentElement && style.display !== 'contents') {
        box = cut(box, node.getBoundingClientRect());
      }
      fixed = style.position === 'fixed';
    }
    return cut(box, {left: 0, top: 0, right: innerWidth, bottom: innerHeight});
  };

  // {box} in px of the topmost window, or {reason} why it is no target; `hits`: how many of the points are its own
  const judge = (element, targets) => {
    const shape = drawn(element), whole = seen(shape) && largest(shape);
    if (!whole) return {reason: 'not visible', hits: 0};
    const part = clipped(shape, whole);
    const [width, height] = [part.right - part.left, part.bottom - part.top];
    if (!area(part)) return {reason: 'off-screen', hits: 0};
    const places = POINTS.map(([x, y]) => [part.left + x * width, part.top + y * height]);
    const own = places.filter(([x, y]) => owner(element, targets, x, y) === element && uncovered(x, y));
    const hits = own.length;
    if (element.matches(':disabled, [aria-disabled=true]')) return {reason: 'disabled', hits};
    if (width < SMALL || height < SMALL) return {reason: 'too small', hits};
    if (!hits) return {reason: 'occluded', hits};
    if (area(part) < SHOWN * area({...whole.toJSON()})) return {reason: 'cut off', hits};
    if (hits < POINTS.length) return {reason: 'partly occluded', hits};
    if (area(part) > LARGE * innerWidth * innerHeight && window === window.parent) return {reason: 'too large', hits};
    return {box: outermost(part), hits};
  };

  const FIELDS = 'input:not([type=button],[type=submit],[type=reset],[type=image]),select,textarea';
  // whether people see a text: not clipped to nothing, nor moved out of its element as icon buttons do
  const legible = (node, box) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    const holder = node.parentElement.getBoundingClientRect();
    return holder.width > 2 && holder.height > 2 && [...range.getClientRects()].some(part =>
      part.right > box.left && part.left < box.right && part.bottom > box.top && part.top < box.bottom);
  };

  // what stands in or at the element for people to read
  const text = element => {
    if (element.matches(FIELDS)) {
      const own = element.localName === 'select' ? element.selectedOptions[0]?.text : element.value || element.placeholder;
      return squeeze([...labels(element).map(label => label.innerText), own].join(' '));
    }
    if (element.localName === 'input') return squeeze(element.value);
    const texts = [], box = element.getBoundingClientRect();
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    for (let node; texts.length < 20 && (node = walker.nextNode());) {
      if (node.data.trim() && node.parentElement && seen(node.parentElement) && legible(node, box)) texts.push(node.data);
    }
    return squeeze(texts.join(' '));
  };

  // the short titles of what an element lies in, nearest first
  const contexts = element => {
    const found = [];
    for (let node = up(element); node && found.length < 4; node = up(node)) {
      if (!(node instanceof Element) || !node.matches(GROUPS)) continue;
      const titled = [...node.querySelectorAll(TITLES)].find(title => !element.contains(title)
        && !title.contains(element) && GLYPH.test(title.innerText ?? '') && seen(title));
      const name = squeeze(node.getAttribute('aria-label') || titled?.innerText);
      if (name && name.length <= 40 && !found.includes(name)) found.push(name);
    }
    return found;
  };

  // the class names in an element that has no text: icon fonts write there what they draw
  const marks = element => [element, ...element.querySelectorAll('i,span,svg,use,img')].slice(0, 6)
    .map(node => [node.getAttribute('class'), node.getAttribute('href') ?? node.getAttribute('xlink:href'),
      node.getAttribute('data-icon')].filter(Boolean).join(' '));

  const pointer = element => getComputedStyle(element).cursor === 'pointer';

  return {
    // elements that only their cursor or handler tells to be clickable; `known` are those with a role
    clickable: (...known) => {
      const roles = new Set(known);
      return [...all(document)].filter(element => {
        if (roles.has(element) || ['html', 'body', 'label', 'option', 'iframe'].includes(element.localName)) return false;
        const above = up(element);
        const own = element.hasAttribute('onclick') || element.tabIndex >= 0
          || (pointer(element) && !(above instanceof Element && pointer(above)));
        if (!own || !seen(element)) return false;
        for (let node = above; node; node = up(node)) if (roles.has(node)) return false;
        return ![...roles].some(other => element.contains(other));
      });
    },

    measure: (...elements) => {
      const targets = new Set(elements);
      return elements.map(element => judge(element, targets));
    },

    describe: (...elements) => elements.map(element => ({
      tag: element.localName,
      type: element.type ?? '',
      text: text(element),
      name: squeeze(element.getAttribute('aria-label') || element.innerText || element.title),
      contexts: contexts(element),
      marks: marks(element),
      // the number of its form in the main page, -1 outside of one, where it is filled already, and in frames
      form: window === window.parent && element.form && !(element.matches('textarea,input') && element.value
        && element.matches(FIELDS) && !['checkbox', 'radio'].includes(element.type)) && !element.checked
        ? [...document.forms].indexOf(element.form) : -1,
      // what says of itself that it opens something, and neither sends nor leads anywhere
      opens: element.matches('[aria-haspopup]:not([aria-haspopup=false]),[aria-expanded=false],summary,'
        + '[data-toggle=dropdown],[data-toggle=modal],[data-bs-toggle=dropdown],[data-bs-toggle=modal],'
        + '[popovertarget],[commandfor],.dropdown-toggle,.ui.dropdown,[data-rel=popup],[data-rel=dialog]') && !element.matches('[type=submit],[type=reset],input,select,textarea')
        && !(element.localName === 'a' && !/^(#|javascript:|$)/.test(element.getAttribute('href') ?? '')),
    })),

    links: () => [...all(document)].filter(element => element.matches('a[href]:not([download]),area[href]'))
      .map(element => element.href).filter(address => typeof address === 'string'),

    // scroll the page, or the largest part of it that scrolls, by `share` of what it shows; whether it moved
    scroll: share => {
      const root = document.scrollingElement;
      const moves = element => element.scrollHeight - element.clientHeight > 40;
      const inner = [...all(document)].filter(element => moves(element)
        && ['auto', 'scroll'].includes(getComputedStyle(element).overflowY))
        .sort((one, two) => two.clientWidth * two.clientHeight - one.clientWidth * one.clientHeight)[0];
      const scroller = root && moves(root) ? root : inner;
      if (!scroller) return false;
      const before = scroller.scrollTop;
      scroller.scrollBy({top: share * scroller.clientHeight, behavior: 'instant'});
      return Math.abs(scroller.scrollTop - before) > 8;
    },

    // choose the first option of a <select> at (x, y) that is not the chosen one; its text, "" where there is none
    choose: (x, y) => {
      const select = under(document, x, y)?.closest('select');
      const other = [...select?.options ?? []].find(option => !option.disabled && option.value && !option.selected);
      if (!other) return '';
      select.value = other.value;
      for (const name of ['input', 'change']) select.dispatchEvent(new Event(name, {bubbles: true}));
      return squeeze(other.text);
    },

    // the text that `choose` would choose
    choice: (x, y) => squeeze([...under(document, x, y)?.closest('select')?.options ?? []]
      .find(option => !option.disabled && option.value && !option.selected)?.text),

    dialog: () => [...all(document)].some(element => element.matches('dialog[open],[role=dialog],[role=alertdialog],.modal')
      && seen(element) && element.getBoundingClientRect().height > 0),

    // write blocks over every match of the patterns in texts and attributes; how many there were
    mask: patterns => {
      const rules = patterns.map(pattern => new RegExp(pattern, 'giu'));
      let count = 0;
      const covered = text => rules.reduce((rest, rule) => rest.replace(rule, match => {
        count += 1;
        return match.replace(/[\p{L}\p{N}]/gu, '\u2588');
      }), text);
      const roots = [document];
      for (const element of all(document)) {
        if (element.shadowRoot) roots.push(element.shadowRoot);
        for (const name of ['aria-label', 'title', 'alt', 'placeholder', 'value', 'label']) {
          const told = element.getAttribute(name), hidden = told && covered(told);
          if (told && hidden !== told) element.setAttribute(name, hidden);
        }
        if (typeof element.value === 'string' && element.matches('input,textarea')) {
          const hidden = covered(element.value);
          if (hidden !== element.value) element.value = ['number', 'date', 'range'].includes(element.type) ? '' : hidden;
        }
      }
      for (const root of roots) {
        const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
        for (let node; (node = walker.nextNode());) {
          const hidden = covered(node.data);
          if (hidden !== node.data) node.data = hidden;
        }
      }
      return count;
    },
  };
})()
