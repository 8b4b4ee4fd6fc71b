package agent

import (
	"errors"
	"strings"

	"plumb/engine"
)

// Refusal is what an agent that cannot start writes to its parent: one line, with what
// to do about it behind a tab.
func Refusal(err error) string {
	e := engine.AsError(err)
	word := strings.NewReplacer("\n", "; ", "\t", " ").Replace(e.Error())
	if e.Hint != "" {
		word += "\t" + strings.ReplaceAll(e.Hint, "\n", "; ")
	}
	return word
}

// refused is the error that such a line stands for.
func refused(word string) error {
	message, hint, ok := strings.Cut(word, "\t")
	if !ok {
		return errors.New(word)
	}
	return &engine.Error{Kind: engine.Machine, Message: message, Hint: hint}
}
