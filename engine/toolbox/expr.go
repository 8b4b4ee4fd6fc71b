package toolbox

import (
	"context"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// expr's grammar, from what binds least: | & comparison +- */% : and the words.
type exprParser struct {
	args []string
	deep int
}

func expr(_ context.Context, c *Call) error {
	args := c.Args[1:]
	if len(args) == 1 && args[0] == "--help" {
		return errHelp
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return usageError("needs an expression")
	}
	p := &exprParser{args: args}
	v, err := p.or()
	if err == nil && len(p.args) > 0 {
		err = fmt.Errorf("unexpected %q", p.args[0])
	}
	if err != nil {
		return err
	}
	c.line(v, false)
	if null(v) {
		return exit(1)
	}
	return nil
}

// null says whether a value is empty or zero.
func null(v string) bool {
	n, ok := integer(v)
	return v == "" || ok && n.Sign() == 0
}

func integer(v string) (*big.Int, bool) {
	if v == "" || strings.Trim(strings.TrimPrefix(v, "-"), "0123456789") != "" {
		return nil, false
	}
	return new(big.Int).SetString(v, 10)
}

func (p *exprParser) take(words ...string) (string, bool) {
	for _, w := range words {
		if len(p.args) > 0 && p.args[0] == w {
			p.args = p.args[1:]
			return w, true
		}
	}
	return "", false
}

// level reads operands of one level with the operators between them.
func (p *exprParser) level(next func() (string, error), f func(op, a, b string) (string, error), ops ...string) (string, error) {
	a, err := next()
	for err == nil {
		op, ok := p.take(ops...)
		if !ok {
			return a, nil
		}
		var b string
		if b, err = next(); err == nil {
			a, err = f(op, a, b)
		}
	}
	return "", err
}

func (p *exprParser) or() (string, error) {
	return p.level(p.and, func(_, a, b string) (string, error) {
		switch {
		case !null(a):
			return a, nil
		case !null(b):
			return b, nil
		}
		return "0", nil
	}, "|")
}

func (p *exprParser) and() (string, error) {
	return p.level(p.compare, func(_, a, b string) (string, error) {
		if null(a) || null(b) {
			return "0", nil
		}
		return a, nil
	}, "&")
}

func (p *exprParser) compare() (string, error) {
	return p.level(p.sum, func(op, a, b string) (string, error) {
		order := strings.Compare(a, b)
		x, ok := integer(a)
		y, ok2 := integer(b)
		if ok && ok2 {
			order = x.Cmp(y)
		}
		yes := map[string]bool{"<": order < 0, "<=": order <= 0, "=": order == 0, "==": order == 0, "!=": order != 0, ">=": order >= 0, ">": order > 0}[op]
		if yes {
			return "1", nil
		}
		return "0", nil
	}, "<", "<=", "=", "==", "!=", ">=", ">")
}

func (p *exprParser) sum() (string, error) { return p.level(p.product, arithmetic, "+", "-") }

func (p *exprParser) product() (string, error) { return p.level(p.match, arithmetic, "*", "/", "%") }

func arithmetic(op, a, b string) (string, error) {
	x, ok := integer(a)
	y, ok2 := integer(b)
	if !ok || !ok2 {
		return "", fmt.Errorf("no integer in %s %s %s", a, op, b)
	}
	n := new(big.Int)
	switch op {
	case "+":
		n.Add(x, y)
	case "-":
		n.Sub(x, y)
	case "*":
		n.Mul(x, y)
	default:
		if y.Sign() == 0 {
			return "", fmt.Errorf("division by zero")
		}
		if op == "/" {
			n.Quo(x, y)
		} else {
			n.Rem(x, y)
		}
	}
	return n.String(), nil
}

func (p *exprParser) match() (string, error) {
	return p.level(p.primary, func(_, a, b string) (string, error) { return exprMatch(a, b) }, ":")
}

// exprMatch is the first group, or how many characters match from the start.
func exprMatch(text, pattern string) (string, error) {
	n, groups, err := parsePattern(pattern, dialect{}, 0)
	if err != nil {
		return "", err
	}
	n = &node{kind: kindCat, sub: []*node{{kind: kindTextBegin}, {kind: kindGroup, sub: []*node{n}}}}
	re, err := newPattern(n, groups, dialect{})
	if err != nil {
		return "", err
	}
	m, err := re.find([]byte(text))
	switch {
	case err != nil:
		return "", err
	case groups > 0 && (m == nil || m[2] < 0):
		return "", nil
	case groups > 0:
		return text[m[2]:m[3]], nil
	case m == nil:
		return "0", nil
	}
	return strconv.Itoa(utf8.RuneCountInString(text[m[0]:m[1]])), nil
}

func (p *exprParser) primary() (string, error) {
	if len(p.args) == 0 {
		return "", fmt.Errorf("an operand is missing")
	}
	word := p.args[0]
	p.args = p.args[1:]
	switch {
	case word == "(":
		if p.deep++; p.deep > 200 {
			return "", fmt.Errorf("nested too deep")
		}
		v, err := p.or()
		if err != nil {
			return "", err
		}
		p.deep--
		if _, ok := p.take(")"); !ok {
			return "", fmt.Errorf("a ) is missing")
		}
		return v, nil
	case word == "+" && len(p.args) > 0:
		word, p.args = p.args[0], p.args[1:]
		return word, nil
	case word == "length" && len(p.args) > 0:
		v, err := p.primary()
		return strconv.Itoa(utf8.RuneCountInString(v)), err
	case (word == "match" || word == "index") && len(p.args) > 1:
		a, err := p.primary()
		if err != nil {
			return "", err
		}
		b, err := p.primary()
		if err != nil {
			return "", err
		}
		if word == "match" {
			return exprMatch(a, b)
		}
		i := strings.IndexAny(a, b)
		if i < 0 {
			return "0", nil
		}
		return strconv.Itoa(utf8.RuneCountInString(a[:i]) + 1), nil
	case word == "substr" && len(p.args) > 2:
		return p.substr()
	}
	return word, nil
}

func (p *exprParser) substr() (string, error) {
	var v [3]string
	for i := range v {
		var err error
		if v[i], err = p.primary(); err != nil {
			return "", err
		}
	}
	from, err := strconv.Atoi(v[1])
	length, err2 := strconv.Atoi(v[2])
	text := []rune(v[0])
	if err != nil || err2 != nil || from < 1 || length < 1 || from > len(text) {
		return "", nil
	}
	return string(text[from-1 : min(from-1+length, len(text))]), nil
}
