# fish completion for faultctl: faultctl completion fish | source
function __faultctl_complete
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    $words[1] __complete -- $words[2..-1] "$cur" 2>/dev/null
end
complete -c faultctl -f -a '(__faultctl_complete)'
