-- For the notebooks that sphinx-gallery exports. Markdown has neither the roles nor the
-- directives of reStructuredText: without this they would show as {.interpreted-text} and ":::".

-- What a link to a page shows: the page's title, its source's first line that begins with a capital.
local function title_of(target)
  local script = target:match("^sphx_glr_auto_examples_(.*%.py)$")
  local docs = pandoc.path.directory(PANDOC_SCRIPT_FILE)
  local source = io.open(docs .. (script and "/../examples/" .. script or target .. ".rst"))
  if source then
    for line in source:lines() do
      if line:match("^%u") then
        return line
      end
    end
  end
  error("Expected a link to a page or a link with a text. Received " .. target)
end

-- A role becomes plain code or text, and "~a.b.C" becomes "C".
function Code(code)
  if not code.classes:includes("interpreted-text") then
    return nil
  end
  local role = code.attributes.role or ""
  local text = code.text:gsub("%s*<[^>]*>$", ""):gsub("^~.*%.", ""):gsub("^~", "")
  if role:find("cite") then -- gallery_hooks.py, which knows refs.bib, writes authors and years
    return pandoc.Str("cite:" .. role:match("%a$") .. ":" .. text .. ":")
  end
  if (role == "ref" or role == "doc") and text == code.text then
    return pandoc.Emph(pandoc.Str(title_of(text)))
  end
  if role == "term" or role == "ref" or role == "doc" then
    return pandoc.Str(text)
  end
  return pandoc.Code(text)
end

-- Each block is converted alone, so its heading would be of the first level; the page's title is
-- lifted again when all notebooks are there (gallery_hooks.py).
function Header(header)
  header.level = header.level + 1
  return header
end

local titles = {
  note = "Note", tip = "Tip", hint = "Hint", important = "Important", seealso = "See also",
  warning = "Warning", caution = "Caution", attention = "Attention", danger = "Danger",
}

-- A box becomes a quotation with its title in bold; what only the site can fill goes.
function Div(div)
  local kind = div.classes[1] or ""
  if kind == "footbibliography" then
    return pandoc.Para(pandoc.Str("cite:all:"))
  end
  if kind == "minigallery" or kind == "title" then
    return {}
  end
  if titles[kind] then
    return pandoc.BlockQuote({ pandoc.Para({ pandoc.Strong(titles[kind]) }), table.unpack(div.content) })
  end
  if kind == "admonition" then
    return pandoc.BlockQuote(div.content)
  end
  return div.content
end
