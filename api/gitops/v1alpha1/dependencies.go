package v1alpha1

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Dependency is what has to be there before commits of a source are applied:
// another source, or any object.
type Dependency struct {
	// Source is the name of a GitSource that has to be healthy at its newest
	// commit. Nothing else may be set then.
	// +optional
	Source string `json:"source,omitempty"`
	// APIVersion of an object, as "apps/v1".
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// Kind of the object.
	// +optional
	Kind string `json:"kind,omitempty"`
	// Namespace of the object; empty for one that is in none.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Name of the object.
	// +optional
	Name string `json:"name,omitempty"`
	// Ready is CEL over the variable "object" that is true when the object is
	// ready. Without it, the object has to be healthy. An error in it, such as a
	// field that is not there yet, counts as false.
	// +optional
	Ready string `json:"ready,omitempty"`
}

// String names what is depended on.
func (d *Dependency) String() string {
	switch {
	case d.Source != "":
		return "the source " + d.Source
	case d.Namespace != "":
		return d.Kind + " " + d.Namespace + "/" + d.Name
	}
	return d.Kind + " " + d.Name
}

func validateDependencies(o *GitSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, d := range o.Spec.DependsOn {
		at := at.Index(i)
		switch {
		case d.Source == o.Name && d.Source != "":
			errs = append(errs, field.Invalid(at.Child("source"), d.Source, "a source cannot wait for itself"))
		case d.Source != "" && (d.APIVersion != "" || d.Kind != "" || d.Namespace != "" || d.Name != "" || d.Ready != ""):
			errs = append(errs, field.Invalid(at, d.Source, "is about a source: an object is another entry"))
		case d.Source == "" && (d.APIVersion == "" || d.Kind == "" || d.Name == ""):
			errs = append(errs, field.Required(at, "set source, or apiVersion, kind and name of an object"))
		}
	}
	return errs
}
