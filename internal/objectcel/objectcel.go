// Package objectcel evaluates boolean CEL expressions over one Kubernetes
// object, which they know as "object". Evaluation is bounded: an expression
// that costs too much ends with an error.
package objectcel

import (
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
)

// costLimit bounds one evaluation; a comprehension over a thousand list items
// stays well below it.
const costLimit = 1_000_000

// environment is made when the first expression is compiled: it costs some
// megabytes, which most clusters never need.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(cel.Variable("object", cel.DynType), cel.OptionalTypes(), ext.Strings(), ext.Lists(), ext.Sets())
})

// Program is a compiled expression. It is safe for concurrent use.
type Program struct{ program cel.Program }

// Compile checks an expression. The error says where and what is wrong.
func Compile(expression string) (*Program, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("make CEL environment: %w", err)
	}
	ast, issues := env.Compile(expression)
	if err := issues.Err(); err != nil {
		return nil, err
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("gives %s, but must give bool", t)
	}
	program, err := env.Program(ast, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, err
	}
	return &Program{program}, nil
}

// Eval evaluates it for an object in its JSON form.
func (p *Program) Eval(object map[string]any) (bool, error) {
	out, _, err := p.program.Eval(map[string]any{"object": object})
	if err != nil {
		return false, err
	}
	is, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("gives %s, not bool", out.Type().TypeName())
	}
	return is, nil
}
