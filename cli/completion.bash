# bash completion for faultctl: source <(faultctl completion bash)
_faultctl() {
	local cur words cword line
	if declare -F _get_comp_words_by_ref >/dev/null; then
		_get_comp_words_by_ref -n : cur words cword
	else
		cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
	fi
	COMPREPLY=()
	while IFS=$'\t' read -r line _; do
		COMPREPLY+=("$line")
	done < <("${words[0]}" __complete -- "${words[@]:1:cword-1}" "$cur" 2>/dev/null)
	if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/] ]]; then
		compopt -o nospace 2>/dev/null
	fi
	if declare -F __ltrim_colon_completions >/dev/null; then
		__ltrim_colon_completions "$cur"
	fi
}
complete -F _faultctl faultctl
