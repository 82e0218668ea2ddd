# The grammar of what an owner sets on this host over host.toml, as hostwright-set writes it. Prints the settings, or
# fails at the first line that is not good and says why. POSIX awk; hostwright/machine/local.py has the same rules.
#
#   device ADDRESS pass ID                       network address ADDRESS/PREFIX|dhcp
#   device ADDRESS keep                          network gateway ADDRESS|none
#   guest NAME autostart yes|no                  network nameservers ADDRESS...|none
#   guest NAME device ADDRESS add|remove         end
#
# `end` is the last line: a file that was torn has none. -v nic=, address= and gateway= are host.toml's; several= is not empty
# where its network has more than one bridge, or gives guests their addresses.

BEGIN {
    hex4 = "[0-9a-f][0-9a-f][0-9a-f][0-9a-f]"
    pci_address = "^" hex4 ":[0-9a-f][0-9a-f]:[01][0-9a-f][.][0-7]$"
    pci_id = "^" hex4 ":" hex4 "$"
    built_nic = nic
    has_bridge = nic != "" || address != ""
    lines = 0
}

ended { fail("there is a line behind \"end\"") }

{
    line = $0
    $1 = $1
    if (line != $0 || NF == 0)
        fail("words are parted by one blank each")
}

$0 == "end" {
    ended = 1
    next
}

$1 == "device" && NF >= 3 {
    check_address($2)
    if ($3 == "pass" && NF == 4) {
        if ($4 !~ pci_id)
            fail("\"" $4 "\" is not an id such as 10de:1e37")
    } else if ($3 != "keep" || NF != 3)
        fail("a device is set to \"pass ID\" or \"keep\"")
    set("device " $2)
    next
}

$1 == "guest" && NF == 4 && $3 == "autostart" {
    check_name($2)
    if ($4 != "yes" && $4 != "no")
        fail("autostart is yes or no")
    set("guest " $2 " autostart")
    next
}

$1 == "guest" && NF == 5 && $3 == "device" {
    check_name($2)
    check_address($4)
    if ($5 != "add" && $5 != "remove")
        fail("a device of a guest is set to add or remove")
    set("guest " $2 " device " $4)
    next
}

$1 == "network" && NF == 3 && $2 == "address" {
    address = $3
    check_host_address(address)
    set("network address")
    next
}

$1 == "network" && NF == 3 && $2 == "gateway" {
    gateway = $3 == "none" ? "" : $3
    if (gateway != "" && number(gateway) < 0)
        fail("\"" gateway "\" is not an IPv4 address")
    set("network gateway")
    next
}

$1 == "network" && NF >= 3 && $2 == "nameservers" {
    check_nameservers()
    set("network nameservers")
    next
}

{ fail("no such setting") }

END {
    if (failed)
        exit 1
    at_end = 1
    if (!ended)
        fail("it is torn: the last line is not \"end\"")
    if (changes_network)
        check_network()
    for (i = 1; i <= lines; i++)
        print kept[i]
}

function fail(reason) {
    printf "%s%s\n", at_end ? "" : "line " NR ": ", reason | "cat 1>&2"
    close("cat 1>&2")
    failed = 1
    exit 1
}

function set(name) {
    if (name in seen)
        fail("\"" name "\" is set twice")
    seen[name] = 1
    kept[++lines] = $0
    if ($1 == "network")
        changes_network = 1
}

function check_address(text) {
    if (text !~ pci_address)
        fail("\"" text "\" is not a PCI address such as 0000:01:00.0")
}

function check_name(text) {
    if (length(text) > 31 || text !~ /^[a-z0-9-]+$/ || text ~ /^-/ || text ~ /-$/)
        fail("\"" text "\" is no name of a guest")
}

# ---- network

# An IPv4 address as a number, or -1.
function number(text,  part, i, sum) {
    if (split(text, part, ".") != 4)
        return -1
    sum = 0
    for (i = 1; i <= 4; i++) {
        if (part[i] !~ /^(0|[1-9][0-9]?[0-9]?)$/ || part[i] > 255)
            return -1
        sum = sum * 256 + part[i]
    }
    return sum
}

# The number of the network that an address is in.
function network(host, prefix) {
    return int(host / 2 ^ (32 - prefix))
}

function check_host_address(text,  part, host, prefix, size, first) {
    if (text == "dhcp")
        return
    if (split(text, part, "/") != 2 || number(part[1]) < 0 || part[2] !~ /^(0|[1-9][0-9]?)$/ || part[2] > 32)
        fail("\"" text "\" is neither dhcp nor an IPv4 address with its prefix, such as 192.168.1.10/24")
    host = number(part[1])
    prefix = part[2] + 0
    first = int(host / 16777216)
    if (host == 0 || first == 127 || first >= 224)
        fail("\"" text "\" is not an address that a host can have")
    size = 2 ^ (32 - prefix)
    if (prefix < 31 && (host % size == 0 || host % size == size - 1))
        fail("\"" text "\" is the network's own or its broadcast address")
}

function check_nameservers(  i, name, servers) {
    if (NF == 3 && $3 == "none")
        return
    for (i = 3; i <= NF; i++) {
        name = number($i) >= 0 ? number($i) : ipv6($i)
        if (name == "")
            fail("\"" $i "\" is not an IP address")
        if (name in servers)
            fail("\"" $i "\" is there twice")
        servers[name] = 1
    }
}

# An IPv6 address with all its groups written out, and the zone; or nothing (RFC 4291, section 2.2; RFC 4007).
function ipv6(text,  zone, part, count, i, gap, high, low, groups, tail) {
    zone = ""
    if (i = index(text, "%")) {
        zone = substr(text, i + 1)
        text = substr(text, 1, i - 1)
        if (!is_interface(zone))
            return ""
        zone = "%" zone
    }
    count = split(tolower(text), part, ":")
    if (count < 3)
        return ""
    if (index(part[count], ".")) {
        tail = number(part[count])
        if (tail < 0)
            return ""
        part[count] = sprintf("%x", int(tail / 65536))
        part[++count] = sprintf("%x", tail % 65536)
    }
    if (count > 9)
        return ""
    gap = 0
    for (i = 2; i < count; i++)
        if (part[i] == "") {
            if (gap)
                return ""
            gap = i
        }
    high = gap ? gap - 1 : count
    low = gap ? count - gap : 0
    # An empty group at an end is a part of "::" there.
    if (part[1] == "" && (!gap || --high))
        return ""
    if (part[count] == "" && (!gap || --low))
        return ""
    if (gap ? high + low > 7 : count != 8)
        return ""
    groups = ""
    for (i = 1; i <= high; i++)
        groups = groups ":" group(part[i])
    for (i = high + low; gap && i < 8; i++)
        groups = groups ":0"
    for (i = count - low + 1; i <= count; i++)
        groups = groups ":" group(part[i])
    return groups ~ /[?]/ ? "" : groups zone
}

function group(text) {
    if (text !~ /^[0-9a-f]+$/ || length(text) > 4)
        return "?"
    sub(/^0+/, "", text)
    return text == "" ? "0" : text
}

function is_interface(text) {
    return length(text) <= 15 && text ~ /^[A-Za-z0-9][A-Za-z0-9._-]*$/ && text != "lo" && text != "all" && text != "default"
}

# What concerns host.toml's network as well.
function check_network(  part, host, router) {
    if (!has_bridge)
        fail("network: host.toml gives this host no bridge (network.nic or network.address)")
    if (several != "" && ("network address" in seen || "network gateway" in seen))
        fail("network: host.toml has further bridges or a dhcp_range: change addresses there")
    if (address == "dhcp" && built_nic == "")
        fail("network address: DHCP needs a card in the bridge (network.nic in host.toml)")
    if (gateway == "")
        return
    if (address == "" || address == "dhcp")
        fail("network gateway: it needs a fixed address")
    split(address, part, "/")
    host = number(part[1])
    router = number(gateway)
    if (network(host, part[2]) != network(router, part[2]))
        fail("network gateway: " gateway " is not inside the network of " address)
    if (host == router)
        fail("network gateway: " gateway " is the host's own address")
    if (built_nic == "")
        fail("network gateway: without a card in the bridge it leads nowhere (network.nic in host.toml)")
}
