package hcl

import (
	"fmt"
	"strconv"
	"strings"
)

// release is a version of plumb as three numbers; what follows a dash or a plus
// is not compared.
type release [3]int

// parseRelease reads "1.2.3", "v1.2" or "1"; parts says how many numbers were
// given.
func parseRelease(s string) (r release, parts int, ok bool) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "v")
	if i := strings.IndexAny(s, "-+"); i >= 0 {
		s = s[:i]
	}
	fields := strings.Split(s, ".")
	if len(fields) > len(r) {
		return r, 0, false
	}
	for i, field := range fields {
		n, err := strconv.Atoi(field)
		if err != nil || n < 0 || field != strconv.Itoa(n) {
			return r, 0, false
		}
		r[i] = n
	}
	return r, len(fields), true
}

func (r release) compare(o release) int {
	for i := range r {
		if r[i] != o[i] {
			if r[i] < o[i] {
				return -1
			}
			return 1
		}
	}
	return 0
}

// meets reports whether the version satisfies a constraint such as
// ">= 0.3, < 2" or "~> 1.2". A version that is no release, as a development
// build has, satisfies every well-formed constraint.
func meets(version, constraint string) (bool, error) {
	have, _, known := parseRelease(version)
	all := true
	for clause := range strings.SplitSeq(constraint, ",") {
		ok, err := meetsClause(have, strings.TrimSpace(clause))
		if err != nil {
			return false, err
		}
		all = all && ok
	}
	return all || !known, nil
}

func meetsClause(have release, clause string) (bool, error) {
	operator := strings.TrimRight(clause[:len(clause)-len(strings.TrimLeft(clause, "<>=!~"))], " ")
	want, parts, ok := parseRelease(clause[len(operator):])
	if !ok {
		return false, fmt.Errorf("%q is not a version constraint", clause)
	}
	c := have.compare(want)
	switch operator {
	case "", "=":
		return c == 0, nil
	case "!=":
		return c != 0, nil
	case ">":
		return c > 0, nil
	case ">=":
		return c >= 0, nil
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case "~>":
		return c >= 0 && have.compare(ceiling(want, parts)) < 0, nil
	}
	return false, fmt.Errorf("%q is not an operator of version constraints", operator)
}

// ceiling is the first release that "~>" no longer allows: the last number but
// one of those given goes up by one.
func ceiling(r release, parts int) release {
	i := max(parts-2, 0)
	r[i]++
	for i++; i < len(r); i++ {
		r[i] = 0
	}
	return r
}
