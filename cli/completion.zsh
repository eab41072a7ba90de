#compdef faultctl
# zsh completion for faultctl: put it into a directory of $fpath as _faultctl,
# or: source <(faultctl completion zsh)
_faultctl() {
	local -a described
	local word meaning
	while IFS=$'\t' read -r word meaning; do
		described+=("${word//:/\\:}:${meaning}")
	done < <("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
	_describe 'faultctl' described
}
if [ "$funcstack[1]" = "_faultctl" ]; then
	_faultctl "$@"
else
	compdef _faultctl faultctl
fi
