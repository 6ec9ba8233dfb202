package kinds

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// apiServiceKind is stored and listed. APIServices without a service are the
// server's own groups; requests are not passed on to other servers yet.
func apiServiceKind() *kind.Kind {
	p := partsOf(func(o *apiregistrationv1.APIService) *apiregistrationv1.APIServiceSpec { return &o.Spec }, func(o *apiregistrationv1.APIService) *apiregistrationv1.APIServiceStatus { return &o.Status })
	return &kind.Kind{
		GVK:           apiregistrationv1.SchemeGroupVersion.WithKind("APIService"),
		Plural:        "apiservices",
		Singular:      "apiservice",
		Categories:    []string{"api-extensions"},
		StoragePrefix: "apiregistration.k8s.io/apiservices",
		New:           func() txn.Object { return &apiregistrationv1.APIService{} },
		NewList:       func() runtime.Object { return &apiregistrationv1.APIServiceList{} },
		// "v1." is the core group's: a path segment, and no DNS subdomain.
		Name: func(string, bool) []string { return nil },
		Default: defaults(func(o *apiregistrationv1.APIService) {
			if o.Spec.Service != nil {
				setDefaultPtr(&o.Spec.Service.Port, 443)
			}
		}),
		Prepare: prepare(func(o, old *apiregistrationv1.APIService) {
			p.withoutStatus(o, untyped(old))
			if old == nil && o.Spec.Service == nil {
				o.Status.Conditions = []apiregistrationv1.APIServiceCondition{{
					Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, LastTransitionTime: o.CreationTimestamp,
					Reason: "Local", Message: "Local APIServices are always available",
				}}
			}
		}),
		Subresources: map[string]kind.Subresource{"status": p.statusSubresource(checkAPIServiceStatus)},
		Validate:     validate(checkAPIService),
		Columns: []column{nameColumn(), str("Service", "The reference to the service that hosts this API endpoint."),
			str("Available", "Whether this service is available."), ageColumn()},
		Row: row(func(o *apiregistrationv1.APIService, now time.Time) []any {
			service, available := "Local", string(apiregistrationv1.ConditionUnknown)
			if s := o.Spec.Service; s != nil {
				service = s.Namespace + "/" + s.Name
			}
			for _, c := range o.Status.Conditions {
				if c.Type != apiregistrationv1.Available {
					continue
				}
				if available = string(c.Status); c.Status != apiregistrationv1.ConditionTrue {
					available = fmt.Sprintf("%s (%s)", c.Status, c.Reason)
				}
			}
			return []any{o.Name, service, available, age(o, now)}
		}),
	}
}

func checkAPIService(o, _ *apiregistrationv1.APIService) fieldErrors {
	c, p, s := &checker{}, field.NewPath("spec"), &o.Spec
	if name := s.Version + "." + s.Group; o.Name != name {
		c.invalid(field.NewPath("metadata", "name"), o.Name, fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", name))
	}
	switch {
	case s.Group != "":
		c.messages(p, "group", s.Group, validation.IsDNS1123Subdomain(s.Group))
	case s.Version != "v1":
		c.required(p.Child("group"), "only v1 may have an empty group and it better be legacy kube")
	}
	c.messages(p, "version", s.Version, validation.IsDNS1035Label(s.Version))
	if s.GroupPriorityMinimum <= 0 || s.GroupPriorityMinimum > 20000 {
		c.invalid(p.Child("groupPriorityMinimum"), s.GroupPriorityMinimum, "must be positive and less than 20000")
	}
	if s.VersionPriority <= 0 || s.VersionPriority > 1000 {
		c.invalid(p.Child("versionPriority"), s.VersionPriority, "must be positive and less than 1000")
	}
	if s.Service == nil {
		if len(s.CABundle) > 0 {
			c.invalid(p.Child("caBundle"), fmt.Sprintf("%d bytes", len(s.CABundle)), "local APIServices may not have a caBundle")
		}
		if s.InsecureSkipTLSVerify {
			c.invalid(p.Child("insecureSkipTLSVerify"), true, "local APIServices may not have insecureSkipTLSVerify")
		}
		return c.errs
	}
	at := p.Child("service")
	if s.Service.Namespace == "" {
		c.required(at.Child("namespace"), "")
	}
	if s.Service.Name == "" {
		c.required(at.Child("name"), "")
	}
	for _, m := range validation.IsValidPortNum(int(deref(s.Service.Port, 443))) {
		c.invalid(at.Child("port"), deref(s.Service.Port, 443), "port is not valid: "+m)
	}
	if s.InsecureSkipTLSVerify && len(s.CABundle) > 0 {
		c.invalid(p.Child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present")
	}
	return c.errs
}

func checkAPIServiceStatus(o, _ *apiregistrationv1.APIService) fieldErrors {
	c := &checker{}
	for i := range o.Status.Conditions {
		at := field.NewPath("status", "conditions").Index(i)
		oneOf(c, at, "status", o.Status.Conditions[i].Status, apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionUnknown)
	}
	return c.errs
}
