# Interpolate a template: the Compose specification's grammar, strict for unset variables.
#
# This is the only implementation. Machines run it at boot; `stoneware render`, the contract and the
# checks before a launch run this very file on the host. POSIX awk; held byte-exact under mawk, gawk
# and busybox awk. Also needed: sh, tee, tr, sed, cat, and /dev/fd.
#
#   LC_ALL=C awk -f interpolate.awk [-v values=PATHS] [-v mode=MODE] [-v name=LABEL] [TEMPLATE]
#   LC_ALL=C awk -f interpolate.awk [-v values=PATHS] -v from=DIRECTORY -v into=DIRECTORY LIST
#
#   LIST      a file with a line SIZE/PATH for each of many templates: FROM/PATH, which has SIZE bytes, is
#             rendered into INTO/PATH. A machine's boot does it so, since starting programs takes its time.
#   TEMPLATE  a file, always taken as a path; none or `-` is standard input. Any bytes but NUL.
#   values    files of values, separated by `:`; later files win. One `KEY=VALUE` a line; in VALUE a
#             backslash is written `\\`, a newline `\n`, a carriage return `\r`. (awk itself reads
#             backslash escapes in -v, so these paths hold neither `:` nor a backslash.)
#   name      what faults call the template (default: the path, or `<stdin>`)
#   mode      render  (default) the template with its values
#             list    one line per use: NAME<TAB>required|optional<TAB>LINE<TAB>DEFAULT<TAB>FORM
#                     FORM is `plain` or the operator; DEFAULT is the unexpanded text of `-` and `:-`,
#                     in the encoding of values and with a tab as `\t`. A use is required where no value
#                     of another variable can make it unneeded.
#             needs   LINE<TAB>TEXT of each outermost expression: all of the template that can fail
#
# Exit 0: the result is on standard output. Exit 2: nothing is, and every fault of the templates is on
# standard error as `name:line: reason`. `render` looks only into branches that are taken; the other
# modes into all. After a malformed `${` reading goes on right behind it, so one run shows all faults.
#
# How: the text becomes tokens, cut at `$` (and, within `${`, at braces); a stack pairs the braces; one
# walk over the tokens follows the branches taken. No string is ever scanned twice, so time is linear.

BEGIN {
    ORS = ""; OFS = ""
    file = ARGC > 1 ? ARGV[1] "" : "-"
    if (name == "") name = file == "-" ? "<stdin>" : file
    if (length("\303\251") != 2) die(name ": run this program with LC_ALL=C")
    if (mode == "") mode = "render"
    if (mode != "render" && mode != "list" && mode != "needs") die(name ": unknown mode " mode)
    if (ARGC > 2) die(name ": one template at a time")
    count = split(values "", paths, ":")
    for (n = 1; n <= count; n++) if (paths[n] != "") read_values(paths[n])
    if (into != "") render_all(file)
    wrong = read_template(file)
    if (wrong != "") die(wrong)
    if (mode == "render") render()
    else list()
    finish()
}

# --- many templates

function render_all(path,    line, at, got, failed) {
    while ((got = (getline line < path)) > 0) {
        at = index(line, "/")
        forget()
        name = from "/" substr(line, at + 1)
        target = into "/" substr(line, at + 1)
        wrong = read_sized(name, substr(line, 1, at - 1) + 0) ? "" : read_template(name)
        if (wrong == "") render()
        else say(wrong)
        if (write_faults() || wrong != "") { failed = 1; continue }
        printf "" > target
        for (at = 1; at <= outs; at++) print OUT[at] > target
        if (close(target)) { failed = 1; say(name ": it cannot be written") }
    }
    if (got < 0) die(path ": cannot read this list")
    close("cat 1>&2")
    exit failed ? 2 : 0
}

function forget() {
    split("", KIND); split("", TEXT); split("", RAW); split("", LINE); split("", PAIR); split("", STACK)
    split("", OPERATOR); split("", SILENT); split("", MESSAGE_OF); split("", MESSAGE_AT); split("", OUT)
    split("", FAULT); split("", AT); split("", SAID)
    tokens = depth = outs = faults = 0
}

# Read a file whose size tells whether its last line ends in a newline. Returns 0, with nothing read, where
# there is a NUL byte, or would not be seen: for some an awk string ends at it.
function read_sized(path, size,    line, held, bytes, got, held_lines, nul) {
    if (length(sprintf("%c", 0)) != 1) return 0
    nul = "[^\001-\377]" # no constant: other locales do not have this range
    while ((got = (getline line < path)) > 0) {
        if (line ~ nul) size = -1
        bytes += length(line) + 1
        held_lines[++held] = line
    }
    close(path)
    if (got < 0 || (bytes != size && bytes != size + 1)) return 0
    for (row = 1; row <= held; row++) tokenize(held_lines[row] (row < held || bytes == size ? "\n" : ""))
    return 1
}

function say(text) { print text "\n" | "cat 1>&2" }

function die(text) {
    say(text)
    close("cat 1>&2")
    exit 2
}

# --- values: kept in their encoded form, VALUE[key], and decoded piece by piece as they are written

function read_values(path,    line, nr, at, got) {
    while ((got = (getline line < path)) > 0) {
        nr++
        at = index(line, "=")
        if (at < 2) die(path ":" nr ": expected KEY=VALUE")
        VALUE[substr(line, 1, at - 1)] = substr(line, at + 1)
    }
    if (got < 0) die(path ": cannot read this file of values")
    close(path)
}

function out_value(key,    parts, n, k, c) {
    if (index(VALUE[key], "\\") == 0) { out(VALUE[key]); return }
    n = split(VALUE[key], parts, "\\")
    out(parts[1])
    for (k = 2; k <= n; k++) {
        if (parts[k] == "") { out("\\"); out(parts[++k]); continue }
        c = substr(parts[k], 1, 1)
        out(c == "n" ? "\n" : c == "r" ? "\r" : "\\" c)
        out(substr(parts[k], 2))
    }
}

# --- reading: awk cannot tell whether the last line ended in a newline, nor can every awk see a NUL.
# So a shell adds one more line, "N.": N is nothing, the line of the first NUL byte, or "bad" after a
# failed read.

# Returns what is wrong with it, in words.
function read_template(path,    command, line, line_before, held, got, first) {
    command = "2>/dev/null; { n=$({ { tee /dev/fd/3 || echo bad >&4; } | tr -cd '\\n\\000' | " \
        "tr '\\000' x | sed -n /x/=; } 4>&1); } 3>&1; set -- $n; printf '\\n%s.' \"$1\""
    if (path == "-") command = "exec " command
    else command = "[ ! -d " quoted(path) " ] && [ -r " quoted(path) " ] || exit 1; exec < " quoted(path) " " command
    first = 1
    while ((got = (command | getline line)) > 0) {
        if (!first) HELD[++held] = line_before
        first = 0
        line_before = line
    }
    close(command)
    if (first || line_before !~ /^[0-9]*[.]$/) return name ": cannot read this template"
    if (line_before != ".") return name ":" (line_before + 0) ": a NUL byte; templates are text"
    for (row = 1; row <= held; row++) {
        tokenize(HELD[row] (row < held ? "\n" : ""))
        delete HELD[row]
    }
    return ""
}

function quoted(text,    parts, n, k, result) {
    n = split(text, parts, "'")
    result = "'" parts[1]
    for (k = 2; k <= n; k++) result = result "'\\''" parts[k]
    return result "'"
}

# --- tokens: KIND, TEXT (what it says), RAW (how it was written), LINE; PAIR[open] = its closing brace
# kinds: text, var ($V), open (${V...), bad (malformed ${), brace ({ within braces), close (})

function token(kind, text, raw) {
    KIND[++tokens] = kind; TEXT[tokens] = text; RAW[tokens] = raw; LINE[tokens] = row
}

function tokenize(line,    parts, n, k, c) {
    n = split(line, parts, "$")
    if (n) plain(parts[1])
    for (k = 2; k <= n; k++) {
        c = substr(parts[k], 1, 1)
        if (c == "" && k < n) {
            token("text", "$", "$$")
            plain(parts[++k])
        } else if (c == "{") {
            braced(parts[k])
        } else if (c ~ /[A-Za-z_]/) {
            match(parts[k], /^[A-Za-z0-9_]+/)
            c = substr(parts[k], 1, RLENGTH)
            token("var", c, "$" c)
            plain(substr(parts[k], length(c) + 1))
        } else {
            token("text", "$", "$")
            plain(parts[k])
        }
    }
}

# Text without a dollar sign; its braces count only within `${`.
function plain(text,    parts, inner, n, m, k, j) {
    if (text == "") return
    if (!depth) { token("text", text, text); return }
    n = split(text, parts, "}")
    for (k = 1; k <= n; k++) {
        if (k > 1) shut()
        if (!depth) { if (parts[k] != "") token("text", parts[k], parts[k]); continue }
        m = split(parts[k], inner, "{")
        for (j = 1; j <= m; j++) {
            if (j > 1) { token("brace", "{", "{"); STACK[++depth] = tokens }
            if (inner[j] != "") token("text", inner[j], inner[j])
        }
    }
}

function shut() {
    if (!depth) { token("text", "}", "}"); return }
    token("close", "}", "}")
    PAIR[STACK[depth--]] = tokens
}

# `text` starts with the brace of a `${`.
function braced(text,    key, op) {
    if (match(text, /^[{][A-Za-z_][A-Za-z0-9_]*/)) {
        key = substr(text, 2, RLENGTH - 1)
        op = substr(text, length(key) + 2, 2)
        if (op !~ /^:[-?+]/) op = substr(op, 1, 1)
        if (op == "}" || op ~ /[-?+]$/) {
            if (op == "}") op = ""
            token("open", key, "${" key op)
            OPERATOR[tokens] = op
            STACK[++depth] = tokens
            plain(substr(text, length(key) + length(op) + 2))
            return
        }
    }
    token("bad", malformed(text, key), "${")
    STACK[++depth] = tokens
    plain(substr(text, 2))
}

function malformed(text, key,    shown, next_char, why) {
    shown = substr(text, 1, 60)
    sub(/\n.*/, "", shown)
    if (index(shown, "}")) shown = substr(shown, 1, index(shown, "}"))
    next_char = substr(text, length(key) + 2, 1)
    if (key != "") {
        why = "after the name comes }, or one of :- - :? ? :+ +"
        if (next_char == "" || next_char == "\n") why = "the closing } is missing"
    } else if (next_char == "}" || next_char == "" || next_char == "\n") why = "there is no name"
    else if (next_char ~ /[ \t]/) why = "no blanks around a name"
    else why = "a name starts with a letter or _"
    return "malformed $" printable(shown) ": " why " (write $${ for a plain ${)"
}

# --- rendering

function out(text) { if (text != "") OUT[++outs] = text }

function fault(line, reason) { FAULT[++faults] = reason; AT[faults] = line }

function unset_fault(i) { fault(LINE[i], "variable " TEXT[i] " is not set and has no default") }

function unclosed_fault(i) {
    fault(LINE[i], "malformed " RAW[i] ": the closing } is missing (write $${ for a plain ${)")
}

function render(    i, kind) {
    for (i = 1; i <= tokens; i++) {
        kind = KIND[i]
        if (kind == "text" || kind == "brace") out(TEXT[i])
        else if (kind == "var") { if (TEXT[i] in VALUE) out_value(TEXT[i]); else unset_fault(i) }
        else if (kind == "close") leave(i)
        else if (kind == "bad") fault(LINE[i], TEXT[i])
        else if (!(i in PAIR)) unclosed_fault(i)
        else i = enter(i, TEXT[i], OPERATOR[i], PAIR[i])
    }
}

# Decide about `${key op ...}`: return the token before the next one to look at.
function enter(i, key, op, end,    good) {
    good = key in VALUE
    if (good && op ~ /^:/) good = VALUE[key] "" != ""
    if (op ~ /[+]$/) {
        if (!good) return end
    } else if (good) {
        out_value(key)
        return end
    } else if (op == "") {
        unset_fault(i)
        return end
    } else if (op ~ /[?]$/) {
        fault(LINE[i], "required variable " key " is missing a value")
        MESSAGE_OF[end] = faults
        MESSAGE_AT[end] = outs + 0
    }
    SILENT[end] = 1
    return i
}

# A closing brace: plain text, or the end of a branch that was taken.
function leave(i,    k, message) {
    if (!(i in SILENT)) { out("}"); return }
    if (!(i in MESSAGE_OF)) return
    for (k = MESSAGE_AT[i] + 1; k <= outs && length(message) < 400; k++) message = message substr(OUT[k], 1, 400)
    outs = MESSAGE_AT[i]
    k = MESSAGE_OF[i]
    if (message != "") FAULT[k] = FAULT[k] ": " printable(message)
}

# --- the modes that look into every branch

function list(    i, kind, inside, start) {
    for (i = 1; i <= tokens; i++) {
        kind = KIND[i]
        if (kind == "bad") fault(LINE[i], TEXT[i])
        else if (kind == "open" && !(i in PAIR)) unclosed_fault(i)
        else if (kind == "open" || kind == "var") {
            if (mode == "list") row_of(i, inside)
            if (!inside) start = i
            if (kind == "open") { SILENT[PAIR[i]] = 1; inside++ }
            else if (!inside && mode == "needs") need(i, i)
        } else if (kind == "close" && i in SILENT) {
            inside--
            if (!inside && mode == "needs") need(start, i)
        }
    }
}

function row_of(i, inside,    op, k, text) {
    op = KIND[i] == "var" ? "" : OPERATOR[i]
    if (op ~ /-$/) for (k = i + 1; k < PAIR[i]; k++) text = text RAW[k]
    out(TEXT[i] "\t" (inside || op ~ /[-+]$/ ? "optional" : "required") "\t" LINE[i] "\t" \
        encoded(text) "\t" (op == "" ? "plain" : op) "\n")
}

function need(from, to,    k) {
    out(LINE[from] "\t")
    for (k = from; k <= to; k++) out(encoded(RAW[k]))
    out("\n")
}

function encoded(text) {
    gsub(/\\/, "&&", text)
    return printable(text)
}

function printable(text) {
    return spelt(spelt(spelt(text, "\n", "\\n"), "\r", "\\r"), "\t", "\\t")
}

# Write a sign in another way. What gsub makes of a backslash in what it puts in, each awk says for itself.
function spelt(text, sign, word,    parts, n, k, result) {
    n = split(text, parts, sign)
    if (n < 2) return text
    result = parts[1]
    for (k = 2; k <= n; k++) result = result word parts[k]
    return result
}

function finish(    k) {
    if (write_faults()) {
        close("cat 1>&2")
        exit 2
    }
    for (k = 1; k <= outs; k++) print OUT[k]
    exit 0
}

function write_faults(    k, key) {
    for (k = 1; k <= faults; k++) {
        key = AT[k] ": " FAULT[k]
        if (key in SAID) continue
        SAID[key] = 1
        say(name ":" key)
    }
    return faults
}
