package expression

import (
	"fmt"
	"sync"

	celgo "github.com/google/cel-go/cel"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

var base = sync.OnceValue(func() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
})

// plain compiles expressions that cannot refer to variables.
var plain = sync.OnceValue(func() plugincel.Compiler { return plugincel.NewCompiler(base()) })

// source is one expression as the evaluators want it.
type source struct {
	name    string
	text    string
	returns []*celgo.Type
}

var _ plugincel.NamedExpressionAccessor = (*source)(nil)

func (s *source) GetName() string            { return s.name }
func (s *source) GetExpression() string      { return s.text }
func (s *source) ReturnTypes() []*celgo.Type { return s.returns }
func condition(name, text string) *source    { return &source{name, text, []*celgo.Type{celgo.BoolType}} }
func message(text string) *source            { return &source{"", text, []*celgo.Type{celgo.StringType}} }
func variable(name, text string) *source {
	return &source{name, text, []*celgo.Type{celgo.AnyType, celgo.DynType}}
}
func auditAnnotation(key, text string) *source {
	return &source{key, text, []*celgo.Type{celgo.StringType, celgo.NullType}}
}

// composed makes a compiler whose expressions may refer to variables.
func composed() *plugincel.CompositedCompiler {
	c, err := plugincel.NewCompositedCompiler(base())
	if err != nil {
		// The environment is fixed: it fails always or never.
		panic(fmt.Sprintf("make the environment of variables: %v", err))
	}
	return c
}

// Checker tells whether the expressions of one object compile. It is used by
// one goroutine.
type Checker struct {
	compiler  plugincel.Compiler
	variables *plugincel.CompositedCompiler // nil when the object has none
	params    bool
}

// NewChecker makes a Checker for an object that has params, or variables, or
// neither.
func NewChecker(params, variables bool) *Checker {
	c := &Checker{params: params}
	if variables {
		c.variables = composed()
		c.compiler = c.variables
		return c
	}
	c.compiler = plain()
	return c
}

// MatchCondition checks an expression that must be a boolean and cannot refer
// to variables. Stored says that the expression was accepted before: it may
// then use what newer versions only would accept.
func (c *Checker) MatchCondition(text string, stored bool) *apiservercel.Error {
	return c.compile(plain(), condition("", text), true, stored)
}

// Validation checks an expression that must be a boolean.
func (c *Checker) Validation(text string, stored bool) *apiservercel.Error {
	return c.compile(c.compiler, condition("", text), true, stored)
}

// Message checks an expression that must be a text; it has no authorizer.
func (c *Checker) Message(text string, stored bool) *apiservercel.Error {
	return c.compile(c.compiler, message(text), false, stored)
}

// AuditAnnotation checks an expression that must be a text or null.
func (c *Checker) AuditAnnotation(text string, stored bool) *apiservercel.Error {
	return c.compile(c.compiler, auditAnnotation("", text), true, stored)
}

// Variable checks the expression of a variable and lets the expressions after
// it refer to it. The Checker must have been made for variables.
func (c *Checker) Variable(name, text string, stored bool) *apiservercel.Error {
	return c.variables.CompileAndStoreVariable(variable(name, text), declarations(c.params, true), mode(stored)).Error
}

func (c *Checker) compile(by plugincel.Compiler, s *source, authorizer, stored bool) *apiservercel.Error {
	return by.CompileCELExpression(s, declarations(c.params, authorizer), mode(stored)).Error
}

func declarations(params, authorizer bool) plugincel.OptionalVariableDeclarations {
	return plugincel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: authorizer}
}

func mode(stored bool) environment.Type {
	if stored {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}
