# Merge encoded KEY=VALUE files, the first one winning, and check them.
#   -v values=FILE        the merged lines, still encoded
#   -v environment=FILE   sh: set -- 'KEY=value' … "$@", values decoded
#   -v contract=FILE      optional: NAME<TAB>KIND<TAB>ARGUMENT lines; KIND is required, integer, number,
#                         boolean, secret, or enum (a line per allowed value, encoded)
#   -v secrets=FILE       optional: PATH<TAB>MODE<TAB>TARGET lines. The variable that is marked secret and
#                         has the TARGET's name, or that name in upper case with _ for - and ., gets the
#                         file's content without one newline at its end; it is not in the environment.
#                         Only the first file of values, the built-in ones, wins over it.
#   -v masked=FILE        optional: NAME=******** for the variables marked secret that are not empty
# Standard output: a line per problem. It never has a value.
BEGIN {
    quote = "'"
    if (contract != "") read_contract()
}

{
    if ($0 == "") next
    at = index($0, "=")
    key = substr($0, 1, at - 1)
    if (at < 2) { print "the configuration has a line that is not KEY=VALUE"; next }
    if (FILENAME == ARGV[1]) builtin[key] = 1
    if (key in seen) next
    seen[key] = substr($0, at + 1)
    order[++count] = key
}

END {
    if (secrets != "") read_secrets()
    printf "set --" >environment
    for (i = 1; i <= count; i++) {
        key = order[i]
        print key "=" seen[key] >values
        if (masked != "" && key in marked && seen[key] "" != "") print key "=********" >masked
        if (key in from_file) continue
        print " \\" >environment
        printf "%s", " " word(key "=" decode(seen[key])) >environment
    }
    print " \"$@\"" >environment
    if (contract != "") check()
}

function word(text,    parts, n, i, out) {
    n = split(text, parts, quote)
    out = parts[1]
    for (i = 2; i <= n; i++) out = out quote "\\" quote quote parts[i]
    return quote out quote
}

function decode(text,    parts, n, i, out, c) {
    if (index(text, "\\") == 0) return text
    out = ""
    while ((i = index(text, "\\")) > 0) {
        c = substr(text, i + 1, 1)
        out = out substr(text, 1, i - 1) (c == "n" ? "\n" : c == "r" ? "\r" : c == "\\" ? c : "\\" c)
        text = substr(text, i + 2)
    }
    return out text
}

function read_contract(    line, f) {
    while ((getline line <contract) > 0) {
        rule[++rules] = line
        split(line, f, "\t")
        if (f[2] == "secret") marked[f[1]] = 1
    }
    close(contract)
}

# The target with exactly the variable's name counts first, else the first one in the order of bytes.
function read_secrets(    line, f, name, path, chosen) {
    while ((getline line <secrets) > 0) {
        split(line, f, "\t")
        name = toupper(f[3])
        gsub(/[-.]/, "_", name)
        if (f[3] in marked) { path[f[3]] = f[1]; chosen[f[3]] = "" }
        if (!(name in marked) || name == f[3]) continue
        if (!(name in chosen) || (chosen[name] != "" && f[3] "" < chosen[name] "")) {
            path[name] = f[1]
            chosen[name] = f[3]
        }
    }
    close(secrets)
    for (name in path) if (!(name in builtin)) take(name, path[name])
}

function take(name, path,    line, text, lines) {
    from_file[name] = 1
    if (!(name in seen)) order[++count] = name
    if (system("tr -d '\\000' <" word(path) " | cmp -s - " word(path))) {
        print name " must not hold a NUL byte: it is a secret that a template may use"
        seen[name] = ""
        return
    }
    while ((getline line <path) > 0) {
        gsub(/\\/, "&&", line)
        text = (lines++ ? text "\\n" : "") without_returns(line)
    }
    close(path)
    seen[name] = text
}

# A carriage return is \r. What gsub makes of a backslash in what it puts in, each awk says for itself.
function without_returns(line,    parts, n, k, result) {
    n = split(line, parts, "\r")
    result = n ? parts[1] : ""
    for (k = 2; k <= n; k++) result = result "\\r" parts[k]
    return result
}

function check(    i, f, name) {
    for (i = 1; i <= rules; i++) {
        split(rule[i], f, "\t")
        name = f[1]
        if (f[2] == "required") {
            if (!(name in seen)) print name " is not set: the image needs it"
        } else if (!(name in seen)) {
            continue
        } else if (f[2] == "integer" && seen[name] !~ /^[-+]?[0-9]+$/) {
            print name " must be a whole number"
        } else if (f[2] == "number" && seen[name] !~ /^[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?$/) {
            print name " must be a number"
        } else if (f[2] == "boolean" && seen[name] !~ /^(true|false)$/) {
            print name " must be true or false"
        } else if (f[2] == "enum") {
            limited[name] = 1
            if (seen[name] == f[3]) allowed[name] = 1
        }
    }
    for (name in limited) if (!(name in allowed)) print name " has a value that the image does not allow"
}
