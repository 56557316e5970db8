package server

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// securityService implements wirepb.SecurityServiceServer.
type securityService struct {
	wirepb.UnimplementedSecurityServiceServer
	s *Server
}

// pageUsers bounds a page of users or roles.
const pageUsers = 500

// directory returns the users, or why there are none.
func (s *securityService) directory() (*auth.Directory, error) {
	if s.s.opts.Security == nil {
		return nil, om.NewError(om.CodeUnsupported, "directory", "", "this server has no users; start it with a first one: oms serve --init-admin NAME")
	}
	return s.s.opts.Security.Directory, nil
}

// change alters the users in the name of the caller.
func (s *securityService) change(ctx context.Context, f func(d *auth.Document) error) error {
	d, err := s.directory()
	if err != nil {
		return err
	}
	return d.Change(ctx, PrincipalOf(ctx), f)
}

func (s *securityService) document() (*auth.Document, error) {
	d, err := s.directory()
	if err != nil {
		return nil, err
	}
	return d.Document(), nil
}

// page returns the names of a page, and what to ask for next.
func page[V any](m map[string]V, after string) (names []string, next string) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if name <= after {
			continue
		}
		if len(names) == pageUsers {
			return names, names[pageUsers-1]
		}
		names = append(names, name)
	}
	return names, ""
}

func (s *securityService) ListUsers(_ context.Context, q *wirepb.ListUsersRequest) (*wirepb.ListUsersResponse, error) {
	d, err := s.document()
	if err != nil {
		return nil, err
	}
	out := &wirepb.ListUsersResponse{}
	if name := q.GetName(); name != "" {
		if u := d.Users[name]; u != nil {
			out.Users = append(out.Users, describeUser(name, u))
		}
		return out, nil
	}
	names, next := page(d.Users, q.GetPage())
	for _, name := range names {
		out.Users = append(out.Users, describeUser(name, d.Users[name]))
	}
	out.NextPage = next
	return out, nil
}

func describeUser(name string, u *auth.User) *wirepb.User {
	out := &wirepb.User{Name: name, Disabled: u.Disabled, Roles: u.Roles, Rules: texts(u.Rules), Passwords: int32(len(u.Verifiers))}
	if !u.Expires.IsZero() {
		out.Expires = u.Expires.UnixMilli()
	}
	if u.Quota != nil {
		out.Quota = describeQuota(*u.Quota)
	}
	return out
}

func describeQuota(q auth.Quota) *wirepb.Quota {
	return &wirepb.Quota{
		Connections: int32(min(q.Connections, 1<<31-1)), MessagesPerSecond: q.MessagesPerSecond, BytesPerSecond: q.BytesPerSecond, InFlight: int32(min(q.InFlight, 1<<31-1)),
	}
}

func quota(q *wirepb.Quota) *auth.Quota {
	if q == nil {
		return nil
	}
	return &auth.Quota{Connections: int(q.GetConnections()), MessagesPerSecond: q.GetMessagesPerSecond(), BytesPerSecond: q.GetBytesPerSecond(), InFlight: int(q.GetInFlight())}
}

func expiry(millis int64) time.Time {
	if millis == 0 {
		return time.Time{}
	}
	return time.UnixMilli(millis).UTC()
}

func texts(rules []auth.Rule) (out []string) {
	for _, r := range rules {
		out = append(out, r.String())
	}
	return out
}

func rules(texts []string) ([]auth.Rule, error) {
	out := make([]auth.Rule, len(texts))
	for i, text := range texts {
		if err := out[i].UnmarshalText([]byte(text)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *securityService) CreateUser(ctx context.Context, q *wirepb.CreateUserRequest) (*wirepb.CreateUserResponse, error) {
	u := q.GetUser()
	return &wirepb.CreateUserResponse{}, s.change(ctx, func(d *auth.Document) error {
		err := d.AddUser(u.GetName(), auth.User{Disabled: u.GetDisabled(), Expires: expiry(u.GetExpires()), Roles: slices.Clone(u.GetRoles()), Quota: quota(u.GetQuota())})
		if err != nil || q.GetVerifier() == "" {
			return err
		}
		v, err := auth.ParseVerifier(q.GetVerifier())
		if err != nil {
			return err
		}
		return d.SetVerifier(u.GetName(), v, false)
	})
}

func (s *securityService) UpdateUser(ctx context.Context, q *wirepb.UpdateUserRequest) (*wirepb.UpdateUserResponse, error) {
	return &wirepb.UpdateUserResponse{}, s.change(ctx, func(d *auth.Document) error {
		u, err := d.User(q.GetName())
		if err != nil {
			return err
		}
		if q.Disabled != nil {
			u.Disabled = q.GetDisabled()
		}
		if q.Expires != nil {
			u.Expires = expiry(q.GetExpires())
		}
		switch {
		case q.GetDefaultQuota():
			u.Quota = nil
		case q.GetQuota() != nil:
			u.Quota = quota(q.GetQuota())
		}
		for _, role := range q.GetAddRoles() {
			if !slices.Contains(u.Roles, role) {
				u.Roles = append(u.Roles, role)
			}
		}
		for _, role := range q.GetRemoveRoles() {
			if !slices.Contains(u.Roles, role) {
				return om.NewError(om.CodeBadParameter, "directory", "", "the user %q has no role %q", q.GetName(), role)
			}
		}
		u.Roles = slices.DeleteFunc(u.Roles, func(r string) bool { return slices.Contains(q.GetRemoveRoles(), r) })
		return nil
	})
}

func (s *securityService) DeleteUser(ctx context.Context, q *wirepb.DeleteUserRequest) (*wirepb.DeleteUserResponse, error) {
	return &wirepb.DeleteUserResponse{}, s.change(ctx, func(d *auth.Document) error { return d.DeleteUser(q.GetName()) })
}

func (s *securityService) PreparePassword(_ context.Context, q *wirepb.PreparePasswordRequest) (*wirepb.PreparePasswordResponse, error) {
	d, err := s.document()
	if err != nil {
		return nil, err
	}
	out := &wirepb.PreparePasswordResponse{Iterations: int32(d.Decoy.Iterations())}
	if u := d.Users[q.GetName()]; u != nil && len(u.Verifiers) > 0 {
		out.Salt = u.Verifiers[0].Salt()
	}
	return out, nil
}

func (s *securityService) SetPassword(ctx context.Context, q *wirepb.SetPasswordRequest) (*wirepb.SetPasswordResponse, error) {
	v, err := auth.ParseVerifier(q.GetVerifier())
	if err != nil {
		return nil, err
	}
	return &wirepb.SetPasswordResponse{}, s.change(ctx, func(d *auth.Document) error { return d.SetVerifier(q.GetName(), v, q.GetAdd()) })
}

func (s *securityService) ListRoles(_ context.Context, q *wirepb.ListRolesRequest) (*wirepb.ListRolesResponse, error) {
	d, err := s.document()
	if err != nil {
		return nil, err
	}
	out := &wirepb.ListRolesResponse{}
	names, next := page(d.Roles, q.GetPage())
	for _, name := range names {
		out.Roles = append(out.Roles, &wirepb.Role{Name: name, Rules: texts(d.Roles[name].Rules)})
	}
	out.NextPage = next
	return out, nil
}

func (s *securityService) CreateRole(ctx context.Context, q *wirepb.CreateRoleRequest) (*wirepb.CreateRoleResponse, error) {
	return &wirepb.CreateRoleResponse{}, s.change(ctx, func(d *auth.Document) error { return d.AddRole(q.GetName()) })
}

func (s *securityService) DeleteRole(ctx context.Context, q *wirepb.DeleteRoleRequest) (*wirepb.DeleteRoleResponse, error) {
	return &wirepb.DeleteRoleResponse{}, s.change(ctx, func(d *auth.Document) error { return d.DeleteRole(q.GetName()) })
}

func (s *securityService) Grant(ctx context.Context, q *wirepb.GrantRequest) (*wirepb.GrantResponse, error) {
	rs, err := rules(q.GetRules())
	if err != nil {
		return nil, err
	}
	return &wirepb.GrantResponse{}, s.change(ctx, func(d *auth.Document) error { return d.Grant(q.GetSubject(), rs...) })
}

func (s *securityService) Revoke(ctx context.Context, q *wirepb.RevokeRequest) (*wirepb.RevokeResponse, error) {
	rs, err := rules(q.GetRules())
	if err != nil {
		return nil, err
	}
	return &wirepb.RevokeResponse{}, s.change(ctx, func(d *auth.Document) error { return d.Revoke(q.GetSubject(), rs...) })
}

func (s *securityService) CheckPermission(_ context.Context, q *wirepb.CheckPermissionRequest) (*wirepb.CheckPermissionResponse, error) {
	d, err := s.directory()
	if err != nil {
		return nil, err
	}
	why, err := d.Permits(q.GetUser(), q.GetVerb(), q.GetResource())
	return &wirepb.CheckPermissionResponse{Allowed: err == nil && why == "", Reason: why}, err
}

func (s *securityService) GetQuota(context.Context, *wirepb.GetQuotaRequest) (*wirepb.GetQuotaResponse, error) {
	d, err := s.document()
	if err != nil {
		return nil, err
	}
	return &wirepb.GetQuotaResponse{Quota: describeQuota(d.Quota)}, nil
}

func (s *securityService) SetQuota(ctx context.Context, q *wirepb.SetQuotaRequest) (*wirepb.SetQuotaResponse, error) {
	return &wirepb.SetQuotaResponse{}, s.change(ctx, func(d *auth.Document) error {
		if q.GetQuota() != nil {
			d.Quota = *quota(q.GetQuota())
		}
		return nil
	})
}
