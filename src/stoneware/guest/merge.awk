# Merge encoded KEY=VALUE files, the first one winning, and check them.
#   -v values=FILE        the merged lines, still encoded
#   -v environment=FILE   sh: set -- 'KEY=value' … "$@", values decoded
#   -v contract=FILE      optional: NAME<TAB>KIND<TAB>ARGUMENT lines; KIND is required, integer, number,
#                         boolean, or enum (a line per allowed value, encoded)
# Standard output: a line per problem.
BEGIN { quote = "'" }

{
    if ($0 == "") next
    at = index($0, "=")
    key = substr($0, 1, at - 1)
    if (at < 2) { print "the configuration has a line that is not KEY=VALUE"; next }
    if (key in seen) next
    seen[key] = substr($0, at + 1)
    order[++count] = key
}

END {
    printf "set --" >environment
    for (i = 1; i <= count; i++) {
        key = order[i]
        print key "=" seen[key] >values
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

function check(    line, f, name) {
    while ((getline line <contract) > 0) {
        split(line, f, "\t")
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
