// What can be read and what can be acted on in this viewport, all boxes in px.
() => {
  const wide = innerWidth, high = innerHeight
  const seen = (x, y) => x >= 0 && y >= 0 && x < wide && y < high ? document.elementFromPoint(x, y) : null
  const shows = (node, x, y) => { const hit = seen(x, y); return hit && (node.contains(hit) || hit.contains(node)) }
  const words = []
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  const range = document.createRange()
  for (let node; (node = walker.nextNode());) {
    if (!/[\x21-\x7e]/.test(node.data)) continue
    const parent = node.parentElement, style = getComputedStyle(parent)
    if (['SCRIPT', 'STYLE', 'OPTION', 'NOSCRIPT', 'TEXTAREA', 'TITLE'].includes(parent.tagName)) continue
    if (style.visibility !== 'visible' || +style.opacity < 0.3 || style.display === 'none') continue
    range.selectNodeContents(node)
    const all = range.getBoundingClientRect()
    if (all.width < 2 || all.bottom < 0 || all.top > high || all.right < 0 || all.left > wide) continue
    for (const found of node.data.matchAll(/[\x21-\x7e]+/g)) {
      const middles = []
      let top = 0, bottom = 0
      for (let at = 0; at < found[0].length; at++) {
        range.setStart(node, found.index + at); range.setEnd(node, found.index + at + 1)
        const box = range.getBoundingClientRect()
        if (at === 0) { top = box.top; bottom = box.bottom }
        middles.push(Math.round((box.left + box.right) / 2))
      }
      const y = (top + bottom) / 2
      if (bottom - top < 6 || !shows(parent, middles[0], y) || !shows(parent, middles[middles.length - 1], y)) continue
      const text = style.textTransform === 'uppercase' ? found[0].toUpperCase()
        : style.textTransform === 'capitalize' ? found[0][0].toUpperCase() + found[0].slice(1) : found[0]
      words.push([text, Math.round(top), Math.round(bottom), middles])
    }
  }
  const items = []
  const wanted = 'a[href],button,input:not([type=hidden]),select,textarea,summary,' +
    '[role=button],[role=link],[role=tab],[role=menuitem],[role=checkbox],[role=switch],[role=radio]'
  for (const node of document.querySelectorAll(wanted)) {
    const box = node.getBoundingClientRect()
    if (box.width < 4 || box.height < 4) continue
    const x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2, hit = seen(x, y)
    if (!hit || !(node.contains(hit) || (node.labels && [...node.labels].some(label => label.contains(hit))))) continue
    if (box.width * box.height > 0.25 * wide * high) continue
    const squeezed = text => (text || '').replace(/\s+/g, ' ').trim()
    const said = squeezed(node.innerText), label = node.labels && node.labels[0]
    const given = squeezed(node.getAttribute('aria-label')), title = squeezed(node.title)
    const value = ['submit', 'button', 'reset'].includes(node.type) ? node.value : ''
    const name = given || (label && squeezed(label.innerText)) || squeezed(value) || squeezed(node.placeholder) ||
      (node.tagName === 'SELECT' ? '' : said) || title
    if (!name || name.length > 60 || !/^[\x20-\x7e]+$/.test(name)) continue
    const type = { A: 'link', BUTTON: 'button', SELECT: 'combobox', TEXTAREA: 'textbox', SUMMARY: 'button' }[node.tagName] ||
      { checkbox: 'checkbox', radio: 'radio', submit: 'button', button: 'button', reset: 'button', range: 'slider' }[node.type] || 'textbox'
    const role = node.getAttribute('role') || (node.tagName === 'INPUT' || node.tagName !== 'DIV' ? type : 'button')
    items.push([role, name, Math.max(0, Math.round(box.left)), Math.max(0, Math.round(box.top)),
      Math.min(wide, Math.round(box.right)), Math.min(high, Math.round(box.bottom)), said || value ? 'text' : 'icon'])
  }
  return { words, items }
}
