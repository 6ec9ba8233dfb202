package expression

import (
	"fmt"
	"strings"

	celgo "github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/openapi"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Type is a kind with its schema, which refers to nothing outside itself.
type Type struct {
	GVK    schema.GroupVersionKind
	Schema *spec.Schema
}

func (t *Type) declared(name string) *apiservercel.DeclType {
	if t == nil || t.Schema == nil {
		return nil
	}
	declared := common.SchemaDeclType(&openapi.Schema{Schema: t.Schema}, true)
	if declared == nil {
		return nil
	}
	return declared.MaybeAssignTypeName(name)
}

// CheckTypes tells which of a policy's expressions do not fit the kinds that
// the policy is about, one warning an expression, in the words of the status'
// typeChecking. Param is the kind of its params: nil when it has none, without
// a schema when that is not known.
func CheckTypes(policy *admissionv1.ValidatingAdmissionPolicySpec, kinds []Type, param *Type) ([]admissionv1.ExpressionWarning, error) {
	checkers := make([]*plugincel.CompositedCompiler, len(kinds))
	for i := range kinds {
		var err error
		if checkers[i], err = typed(&kinds[i], param, policy.Variables); err != nil {
			return nil, fmt.Errorf("check types of %v: %w", kinds[i].GVK, err)
		}
	}
	var warnings []admissionv1.ExpressionWarning
	check := func(at *field.Path, text string) {
		var found []string
		for i, c := range checkers {
			if err := c.CompileCELExpression(&source{text: text}, declarations(param != nil, true), environment.StoredExpressions).Error; err != nil {
				found = append(found, fmt.Sprintf("%v: %s\n", kinds[i].GVK, err))
			}
		}
		if len(found) > 0 {
			warnings = append(warnings, admissionv1.ExpressionWarning{FieldRef: at.String(), Warning: strings.Join(found, "\n")})
		}
	}
	for i, v := range policy.Validations {
		at := field.NewPath("spec", "validations").Index(i)
		check(at.Child("expression"), v.Expression)
		if v.MessageExpression != "" {
			check(at.Child("messageExpression"), v.MessageExpression)
		}
	}
	return warnings, nil
}

// typed makes a compiler that knows what an object of the kind has, and the
// policy's variables.
func typed(object, param *Type, variables []admissionv1.Variable) (*plugincel.CompositedCompiler, error) {
	set, err := typedEnvironment(object, param)
	if err != nil {
		return nil, err
	}
	c, err := plugincel.NewCompositedCompilerForTypeChecking(set)
	if err != nil {
		return nil, err
	}
	c.Compiler = typesOnly{c}
	for _, v := range variables {
		c.CompileAndStoreVariable(variable(v.Name, v.Expression), declarations(param != nil, true), environment.StoredExpressions)
	}
	return c, nil
}

func typedEnvironment(object, param *Type) (*environment.EnvSet, error) {
	var options []celgo.EnvOption
	var types []*apiservercel.DeclType
	declare := func(t *apiservercel.DeclType, names ...string) {
		of := celgo.DynType
		if t != nil {
			types, of = append(types, t), t.CelType()
		}
		for _, name := range names {
			options = append(options, celgo.Variable(name, of))
		}
	}
	declare(plugincel.BuildNamespaceType(), plugincel.NamespaceVarName)
	declare(plugincel.BuildRequestType(), plugincel.RequestVarName)
	declare(object.declared(object.GVK.Kind), plugincel.ObjectVarName, plugincel.OldObjectVarName)
	if param != nil {
		declare(param.declared("Params"+param.GVK.Kind), plugincel.ParamsVarName)
	}
	options = append(options, celgo.Variable(plugincel.AuthorizerVarName, library.AuthorizerType))
	return base().Extend(environment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0), EnvOptions: options, DeclTypes: types})
}

// typesOnly compiles as far as the types are known: what an expression returns
// is checked elsewhere, and nothing is evaluated.
type typesOnly struct{ by *plugincel.CompositedCompiler }

var _ plugincel.Compiler = typesOnly{}

func (c typesOnly) CompileCELExpression(accessor plugincel.ExpressionAccessor, _ plugincel.OptionalVariableDeclarations, mode environment.Type) plugincel.CompilationResult {
	failed := func(text string, kind apiservercel.ErrorType) plugincel.CompilationResult {
		return plugincel.CompilationResult{Error: &apiservercel.Error{Type: kind, Detail: text}, ExpressionAccessor: accessor}
	}
	env, err := c.by.Env(mode)
	if err != nil {
		return failed(fmt.Sprintf("type checking error: %v", err), apiservercel.ErrorTypeInternal)
	}
	tree, issues := env.Compile(accessor.GetExpression())
	if issues != nil {
		return failed(issues.String(), apiservercel.ErrorTypeInvalid)
	}
	return plugincel.CompilationResult{OutputType: tree.OutputType(), ExpressionAccessor: accessor}
}
