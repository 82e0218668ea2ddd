# Judges the facts that hostwright-selfcheck gathers and prints them as text or JSON. POSIX awk.
#
# A row is one expectation: an id that stays the same from version to version, a result (pass, fail or note; a note
# never fails), what is expected and what was found. doit prove reads the ids.

BEGIN {
    FS = "\t"
    rows = groups = devices = named = modules = settings = families = services = sets = stores = arrays = logs = 0
    ids_failed = 0
    bonds = bridges = 0
}

# The kernel log stands last, each line as it is.
in_log {
    if ($0 ~ /DMAR|AMD-Vi|IOMMU|iommu|ACS|acs_override|vfio|VFIO|microcode|Direct firmware load|Unknown kernel/)
        log_line[++logs] = $0
    next
}

$1 == "log"                { in_log = 1 }
$1 == "kernel"             { kernel = $2 }
$1 == "cmdline"            { cmdline = substr($0, 9) }
$1 == "nopassthrough"      { fallback = 1 }
$1 == "environment"        { environment[$2] = 1 }
$1 == "microcode"          { microcode = $2 }
$1 == "remapped_interrupt" { interrupt = $2 }
$1 == "iommu"              { units = units (units == "" ? "" : " ") $2 }
$1 == "driver"             { driver[$2] = $3 }
$1 == "group_type"         { group_type[$2] = $3 }

# The script that loads modules writes each down again when a person runs it; who was first has loaded it.
$1 == "record" && !($2 in record) {
    record[$2] = $3
    recorded_at[$2] = $4
}

$1 == "group" {
    group[$2] = $3
    if (!($3 in members))
        group_name[++groups] = $3
    members[$3] = members[$3] (members[$3] == "" ? "" : " ") $2
}

$1 == "device" {
    device[++devices] = $2
    id[$2] = $3
    class[$2] = $4
    reset[$2] = $5
}

$1 == "unfenced" { unfenced = unfenced (unfenced == "" ? "" : ", ") $2 }

$1 == "bond" {
    bond[++bonds] = $2
    bond_mode[$2] = $3
    bond_has[$2] = $4
    bond_active[$2] = $5
}

$1 == "bond_card" {
    bond_cards[$2] = bond_cards[$2] ", " $3 (($4 == "yes") ? "" : $4 == "no" ? " without a link" : " is not in it")
    bond_links[$2] += $4 == "yes"
    bond_dark[$2] += $4 == "no"
    bond_absent[$2] += $4 == "absent"
}

$1 == "bridge" {
    bridge[++bridges] = $2
    bridge_up[$2] = $3
    bridge_port[$2] = $4
    bridge_link[$2] = $5
    bridge_vlan[$2] = $6
    bridge_vid[$2] = $7
    bridge_address[$2] = $8
    bridge_ipv6[$2] = $9
    bridge_found[$2] = $10
}

$1 == "sysctl" {
    if (!($2 in setting_value))
        setting[++settings] = $2
    setting_value[$2] = $3
    if ($5 != $3)
        setting_other[$2] = setting_other[$2] (setting_other[$2] == "" ? "" : ", ") $4 " is " $5
}

$1 == "port" {
    ports = ports (ports == "" ? "" : ", ") $2
    if ($3 != 1 || $4 != 0)
        open_ports = open_ports (open_ports == "" ? "" : ", ") $2
}

$1 == "filter" { family[++families] = $2 }

$1 == "wanted_rule" { wanted_rule[$2, $3] = 1 }

$1 == "loaded_rule" {
    loaded[$2]++
    if (!(($2, $3) in wanted_rule))
        added_rules[$2] = added_rules[$2] "; added: " $3
    loaded_rule[$2, $3] = 1
}

$1 == "watchdog" { watchdog = $2 }
$1 == "panic"    { panic = $2 }
$1 == "clock"    { clock = $2 ", off by " $3 " s" }
$1 == "findings" { findings = $2 }
$1 == "refused"  { refused = $2 }
$1 == "set"      { set_here[++sets] = $2 }

$1 == "service" {
    service[++services] = $2
    service_file[$2] = $3
    service_alive[$2] = $4
    service_text[$2] = $5
}

$1 == "storage" {
    store[++stores] = $2
    store_place[$2] = $3
    store_mounted[$2] = $4
    store_reason[$2] = $5
}

$1 == "array" {
    array[++arrays] = $2
    array_kind[$2] = $3 " of " $4 " disks"
    array_degraded[$2] = $5
    array_action[$2] = $6
}

$1 == "named" {
    address = tolower($2)
    if (address !~ /^[^:]*:[^:]*:/)
        address = "0000:" address
    named_device[++named] = address
    is_named[address] = 1
    wanted_id[address] = tolower($3)
}

$1 == "module" {
    module[++modules] = $2
    module_place[$2] = $3
    module_present[$2] = $4
}

END {
    judge_iommu()
    judge_remapping()
    judge_override()
    for (i = 1; i <= named; i++)
        judge_named(named_device[i])
    judge_unnamed()
    for (i = 1; i <= modules; i++)
        judge_module(module[i])
    judge_microcode()
    judge_firmware()
    for (i = 1; i <= settings; i++)
        judge_setting(setting[i])
    for (i = 1; i <= bonds; i++)
        judge_bond(bond[i])
    for (i = 1; i <= bridges; i++)
        judge_bridge(bridge[i])
    judge_ports()
    for (i = 1; i <= families; i++)
        judge_filter(family[i])
    judge_panic()
    for (i = 1; i <= services; i++)
        judge_service(service[i])
    if (refused != "")
        row("settings", "fail", "what was set on this host counts", "it does not: " refused)
    for (i = 1; i <= sets; i++)
        judge_set(set_here[i])
    for (i = 1; i <= stores; i++)
        judge_storage(store[i])
    for (i = 1; i <= arrays; i++)
        judge_array(array[i])
    if (format == "json")
        print_json()
    else
        print_text()
    exit ids_failed > 0
}

# ---- judgement

function row(row_id, result, expected, found) {
    rows++
    row_name[rows] = row_id
    row_result[rows] = result
    row_expected[rows] = expected
    # A terminal obeys the controls in what the kernel log and its command line hold; JSON has escapes of its own.
    if (format != "json")
        gsub(/[\001-\037\177]/, "?", found)
    row_found[rows] = found
    if (result == "fail")
        failed_id[++ids_failed] = row_id
}

# Without passthrough a missing part is no failure.
function verdict(good) {
    return good ? "pass" : fallback ? "note" : "fail"
}

function judge_iommu() {
    row("iommu", verdict(units != "" && groups > 0), "an IOMMU is at work and has made groups",
        (units == "" ? "no unit in /sys/class/iommu" : units) ", " groups " groups")
}

# Two signs, since the kernel log of a host that has run for long has lost its beginning.
function judge_remapping(  line) {
    line = find_log("IRQ remapping in|Interrupt remapping enabled")
    if (line == "" && interrupt != "")
        line = "/proc/interrupts: " interrupt
    row("remapping", verdict(line != ""), "interrupts are remapped: without it a guest can forge those of others",
        line == "" ? "no sign of it in the kernel log or in /proc/interrupts" : line)
}

function judge_override(  asked, line) {
    asked = override_words()
    if (asked == "") {
        row("override", "note", "pcie_acs_override= is known when it is given", "not on the kernel command line")
        return
    }
    if (!is_override_known()) {
        row("override", "fail", "the kernel knows pcie_acs_override=" asked, "this kernel has no ACS override")
        return
    }
    line = find_log("pcie_acs_override: (unknown word|malformed id|no room|no known word)")
    if (line != "") {
        row("override", "fail", "the kernel knows every word of pcie_acs_override=" asked, line)
        return
    }
    # An id can be right and still do nothing: there is no such device, or it has ACS of its own.
    line = find_log("pcie_acs_override(=id:.* not applied|: there is no device)")
    row("override", "pass", "the kernel knows every word of pcie_acs_override=" asked,
        count_log("ACS overridden by pcie_acs_override") " devices overridden" (line == "" ? "" : "; " line))
}

# All words asked for; the parameter may be given more than once.
function override_words(  word, i, count, found) {
    count = split(cmdline, word, " ")
    for (i = 1; i <= count; i++)
        if (index(word[i], "pcie_acs_override=") == 1)
            found = found (found == "" ? "" : ",") substr(word[i], 19)
    return found
}

# The kernel hands a parameter that none of its parts knows to init, as a variable of the environment.
function is_override_known(  name) {
    for (name in environment)
        if (index(name, "pcie_acs_override=") == 1)
            return 0
    return find_log("Unknown kernel command line.*pcie_acs_override") == ""
}

function judge_named(address,  expected, found) {
    if (fallback)
        expected = "left to the host: hostwright.nopassthrough is given"
    else
        expected = "on vfio-pci" (wanted_id[address] == "" ? "" : ", with id " wanted_id[address])
    if (!(address in id)) {
        row("device:" address, "fail", expected, "absent")
        return
    }
    found = id[address] " on " driver_name(address)
    if (wanted_id[address] != "" && wanted_id[address] != id[address])
        row("device:" address, "fail", expected, found)
    else if (fallback)
        row("device:" address, driver[address] == "vfio-pci" ? "fail" : "pass", expected, found)
    else
        row("device:" address, driver[address] == "vfio-pci" ? "pass" : "fail", expected, found)
    if (!fallback)
        judge_viable(address)
}

# A group can be handed out when every member has no driver, or one that leaves DMA alone: `harmless` has their names.
function judge_viable(address,  count, i, member, other, others, expected) {
    expected = "no other member of its IOMMU group is in use by the host"
    if (!(address in group)) {
        row("viable:" address, "fail", expected, "it has no group")
        return
    }
    count = split(members[group[address]], member, " ")
    for (i = 1; i <= count; i++) {
        other = member[i]
        if (other != address && driver[other] != "" && index(" " harmless " ", " " driver[other] " ") == 0)
            others = others (others == "" ? "" : ", ") other " (" id[other] ") on " driver[other]
    }
    row("viable:" address, others == "" ? "pass" : "fail", expected,
        "group " group[address] ": " (others == "" ? count " in it" : others))
}

# A twin with the id of a named device is the reason why nothing here goes by id.
function judge_unnamed(  address, found, i) {
    for (i = 1; i <= devices; i++) {
        address = device[i]
        if (driver[address] == "vfio-pci" && !(address in is_named))
            found = found (found == "" ? "" : ", ") address " (" id[address] ")"
    }
    row("unnamed", found == "" ? "pass" : "fail", "vfio-pci has no device that is not named",
        found == "" ? "none" : found)
}

# What is built in was there before any script.
function judge_module(name,  found, good) {
    good = module_present[name] == "builtin" || (module_present[name] != "" && record[name] == "boot")
    if (module_present[name] == "")
        found = "not loaded"
    else if (module_present[name] == "builtin")
        found = "built into the kernel"
    else if (!(name in record))
        found = "loaded, but not by the boot scripts"
    else
        found = "loaded by " record[name] " " recorded_at[name] " s after the start of the kernel"
    row("module:" name, good ? "pass" : "fail", "loaded at boot, as " module_place[name] " asks", found)
}

function judge_microcode(  line) {
    line = find_log("microcode: (Updated early|updated early)")
    row("microcode", "note", "", "revision " (microcode == "" ? "unknown" : microcode) \
        (line == "" ? ", as the firmware left it" : ", updated early at boot"))
}

# A note: most drivers go on without it, and a long log has lost its beginning. "bnx2 0000:02:00.0: Direct firmware load for
# bnx2/x.fw failed with error -2" (drivers/base/firmware_loader/main.c).
function judge_firmware(  i, line, words, count, found, parts) {
    for (i = 1; i <= logs; i++)
        if (log_line[i] ~ /: Direct firmware load for .* failed/) {
            split(log_line[i], parts, ": Direct firmware load for ")
            count = split(parts[1], words, " ")
            sub(/ failed.*/, "", parts[2])
            line = words[count] " (" words[count - 1] ") misses " parts[2]
            if (index(found, line) == 0)
                found = found (found == "" ? "" : ", ") line
        }
    row("firmware", found == "" ? "pass" : "note", "every driver has found its firmware",
        found == "" ? "no driver missed a file" : found "; kernel.firmware in host.toml names what there is")
}

function judge_setting(key) {
    row("sysctl:" key, setting_other[key] == "" ? "pass" : "fail", key " is " setting_value[key],
        setting_other[key] == "" ? setting_value[key] : setting_other[key])
}

# A card that is not there is a fault of the machine or of host.toml; a cable that is not in may come back.
function judge_bond(name,  expected, found) {
    expected = "the bond is " bond_mode[name] ", with all its cards"
    found = (bond_has[name] == "" ? "absent" : bond_has[name]) bond_cards[name]
    if (bond_active[name] != "")
        found = found "; " bond_active[name] " is active"
    if (bond_has[name] != bond_mode[name] || bond_absent[name])
        row("bond:" name, "fail", expected, found)
    else
        row("bond:" name, bond_links[name] && !bond_dark[name] ? "pass" : "note", expected, found)
}

# A server that gives no address, and a cable that is not in, are no faults of the host.
function judge_bridge(name,  expected, fault, port, waits) {
    port = bridge_port[name] (bridge_vid[name] == "" ? "" : " (VLAN " bridge_vid[name] ")")
    expected = "it is up" (bridge_port[name] == "" ? "" : " over " bridge_port[name]) \
        (bridge_vlan[name] == "" ? "" : ", VLAN " bridge_vlan[name]) \
        (bridge_address[name] == "" ? "" : ", address " bridge_address[name]) \
        (bridge_ipv6[name] == "" ? "" : ", IPv6 " bridge_ipv6[name])
    if (bridge_up[name] != "yes")
        fault = "the bridge is not up"
    else if (bridge_link[name] == "absent")
        fault = bridge_port[name] " is not in it"
    else if (bridge_vid[name] != bridge_vlan[name])
        fault = port " is in it"
    else if (is_missing(bridge_address[name], bridge_found[name]))
        fault = bridge_address[name] " is missing"
    else if (is_missing(bridge_ipv6[name], bridge_found[name]))
        fault = bridge_ipv6[name] " is missing"
    if (bridge_link[name] == "no")
        waits = "; " bridge_port[name] " has no link"
    else if (bridge_address[name] == "dhcp" && bridge_found[name] !~ /\./ || bridge_ipv6[name] == "auto" && bridge_found[name] !~ /:/)
        waits = "; no address has come yet"
    row("network:" name, fault != "" ? "fail" : waits != "" ? "note" : "pass", expected,
        fault != "" ? fault : "up" (port == "" ? "" : " over " port) \
            (bridge_found[name] == "" ? "" : ": " substr(bridge_found[name], 1, length(bridge_found[name]) - 1)) waits)
}

# Whether a fixed address is not among those that were found, each with a blank behind it.
function is_missing(address, found) {
    return address ~ /\// && index(" " found, " " address " ") == 0
}

function judge_ports(  expected) {
    expected = "each guest's port of the bridge is isolated and learns no address"
    if (ports == "" && unfenced != "")
        row("guest-ports", "note", expected, "not wanted: isolated is false for " unfenced)
    else if (ports == "")
        row("guest-ports", "note", expected, "no guest is on the bridge")
    else
        row("guest-ports", open_ports == "" ? "pass" : "fail", expected, open_ports == "" ? ports : "open: " open_ports)
}

# A line of the firewall is there under the name that iptables -S gives it.
function judge_filter(name,  found, rule, part) {
    for (rule in wanted_rule) {
        split(rule, part, SUBSEP)
        if (part[1] == name && !(rule in loaded_rule))
            found = found "; not there: " part[2]
    }
    found = found added_rules[name]
    row("filter:" name, found == "" ? "pass" : "fail",
        "what comes in is dropped, but for what /etc/rc.d/init.d/firewall lets in",
        found == "" ? loaded[name] " policies and rules" : substr(found, 3))
}

# What the kernel command line says is the owner's wish.
function judge_panic() {
    row("panic", panic != 0 ? "pass" : cmdline ~ /(^| )panic=/ ? "note" : "fail",
        "the host starts again after a panic", panic == 0 ? "it stops" : "after " panic " s")
}

# A script writes down that its service is not needed on this host, or the file with the number of its process.
function judge_service(name,  expected, found) {
    expected = "its script has started it, and it runs"
    found = service_text[name]
    if (name == "time" && clock != "")
        found = found ": " clock
    if (name == "watchdog" && watchdog != "")
        found = found ": " watchdog
    if (name == "disks" && findings != "")
        found = found "; " findings " findings, which root sees at the login"
    if (service_file[name] == "")
        row("service:" name, "fail", expected, "its script has not run")
    else if (service_file[name] == "-")
        row("service:" name, "note", expected, found)
    else if (service_alive[name] == "no")
        row("service:" name, "fail", expected, "it does not run: " found)
    else if (name == "watchdog" && watchdog != "" && watchdog != "active")
        row("service:" name, "fail", expected, found)
    else
        row("service:" name, "pass", expected, found)
}

# What the owner wants here is no fault; the rows above look at what came of it.
function judge_set(line,  word, words, size, i, name, found) {
    words = split(line, word, " ")
    size = word[1] == "guest" ? word[3] == "device" ? 4 : 3 : 2
    name = "set"
    for (i = 1; i <= size; i++)
        name = name ":" word[i]
    for (i = size + 1; i <= words; i++)
        found = found word[i] " "
    row(name, "note", "as host.toml has it", found "(hostwright-set)")
}

# A reason is of the boot: it may be mounted by hand since.
function judge_storage(name,  found) {
    if (store_mounted[name] == "rw")
        found = "it is"
    else if (store_mounted[name] == "ro")
        found = "it is read-only, as after an error of the disk"
    else
        found = store_reason[name] == "" ? "it is not mounted" : store_reason[name]
    row("storage:" name, store_mounted[name] == "rw" ? "pass" : "fail", "mounted at " store_place[name], found)
}

function judge_array(name,  found) {
    found = array_kind[name]
    if (array_degraded[name] > 0)
        found = found ", " array_degraded[name] " missing or not yet written again"
    if (array_action[name] != "" && array_action[name] != "idle" && array_action[name] != "frozen")
        found = found ": " array_action[name]
    row("array:" name, array_degraded[name] > 0 ? "fail" : "pass", "every disk of the array is there", found)
}

function driver_name(address) {
    return driver[address] == "" ? "no driver" : driver[address]
}

# ---- the kernel log

function find_log(pattern,  i) {
    for (i = 1; i <= logs; i++)
        if (log_line[i] ~ pattern)
            return log_line[i]
    return ""
}

function count_log(pattern,  count, i) {
    count = 0
    for (i = 1; i <= logs; i++)
        count += log_line[i] ~ pattern
    return count
}

# ---- text

function print_text(  i) {
    for (i = 1; i <= rows; i++)
        if (format != "quiet" || row_result[i] == "fail")
            printf "%s  %-24s %s%s\n", toupper(row_result[i]), row_name[i], row_found[i],
                row_result[i] == "fail" ? "; expected: " row_expected[i] : ""
    if (format != "quiet")
        print_devices()
    printf "self-check: %s%s\n", ids_failed ? "fail:" : "pass, " rows " rows", failed_list(" ")
}

function print_devices(  address, i) {
    printf "\n%-14s %-10s %-7s %-6s %-16s %s\n", "address", "id", "class", "group", "driver", "reset"
    for (i = 1; i <= devices; i++) {
        address = device[i]
        printf "%-14s %-10s %-7s %-6s %-16s %s\n", address, id[address], class[address],
            address in group ? group[address] : "-", driver[address] == "" ? "-" : driver[address],
            reset[address] == "" ? "-" : reset[address]
    }
    printf "\n"
}

function failed_list(separator,  i, text) {
    for (i = 1; i <= ids_failed; i++)
        text = text separator failed_id[i]
    return text
}

# ---- JSON (RFC 8259)

# Backslashes in the replacement of gsub() mean different things to different awks, so this splits and joins.
function replace(text, pattern, by,  count, i, out, part) {
    count = split(text, part, pattern)
    out = part[1]
    for (i = 2; i <= count; i++)
        out = out by part[i]
    return out
}

function string(text,  code) {
    text = replace(text, "[\\\\]", "\\\\")
    text = replace(text, "[\"]", "\\\"")
    # A byte outside ASCII may be no UTF-8 at all, as on a mistyped command line.
    gsub(/[\200-\377]/, "?", text)
    if (text ~ /[\001-\037]/)
        for (code = 1; code < 32; code++)
            text = replace(text, "[" sprintf("%c", code) "]", sprintf("\\u%04x", code))
    return "\"" text "\""
}

# The words of `text` as a JSON list.
function list(text) {
    return text == "" ? "[]" : "[\"" replace(text, "[ ]", "\", \"") "\"]"
}

function key(name, value) {
    return string(name) ": " string(value)
}

function flag(name, value) {
    return string(name) ": " (value ? "true" : "false")
}

# An item of a list: a comma goes before each but the first.
function item(number, text) {
    printf "%s\n  %s", number == 1 ? "" : ",", text
}

function print_json(  address, i, name) {
    printf "{\"format\": 1,\n%s,\n%s,\n%s,\n", key("kernel", kernel), key("cmdline", cmdline),
        flag("passthrough", !fallback)
    printf "\"rows\": ["
    for (i = 1; i <= rows; i++)
        item(i, "{" key("id", row_name[i]) ", " key("result", row_result[i]) ", " \
            key("expected", row_expected[i]) ", " key("found", row_found[i]) "}")
    printf "],\n\"named\": ["
    for (i = 1; i <= named; i++) {
        address = named_device[i]
        item(i, "{" key("address", address) ", " key("id", id[address]) ", " key("wanted_id", wanted_id[address]) ", " \
            key("wanted_driver", fallback ? "" : "vfio-pci") ", " key("driver", driver[address]) ", " \
            key("group", group[address]) "}")
    }
    printf "],\n\"modules\": ["
    for (i = 1; i <= modules; i++) {
        name = module[i]
        item(i, "{" key("name", name) ", " key("listed", module_place[name]) ", " \
            flag("loaded", module_present[name] != "") ", " key("by", record[name]) ", " \
            key("seconds", recorded_at[name]) "}")
    }
    printf "],\n\"override\": {%s: %s, %s},\n", string("asked"), list(replace(override_words(), ",", " ")),
        flag("known", override_words() != "" && is_override_known())
    printf "%s,\n", key("microcode", microcode)
    print_json_machine()
    printf "%s,\n\"failing\": [", key("verdict", ids_failed ? "fail" : "pass")
    for (i = 1; i <= ids_failed; i++)
        item(i, string(failed_id[i]))
    printf "]}\n"
}

function print_json_machine(  address, i) {
    printf "%s: %s,\n\"devices\": [", string("iommu"), list(units)
    for (i = 1; i <= devices; i++) {
        address = device[i]
        item(i, "{" key("address", address) ", " key("id", id[address]) ", " key("class", class[address]) ", " \
            key("driver", driver[address]) ", " key("group", group[address]) ", " \
            key("reset_method", reset[address]) "}")
    }
    printf "],\n\"groups\": ["
    for (i = 1; i <= groups; i++)
        item(i, "{" key("id", group_name[i]) ", " key("type", group_type[group_name[i]]) ", " \
            string("devices") ": " list(members[group_name[i]]) "}")
    printf "],\n\"log\": ["
    for (i = 1; i <= logs; i++)
        item(i, string(log_line[i]))
    printf "],\n"
}
