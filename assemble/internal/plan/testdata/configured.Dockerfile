# syntax=docker/dockerfile:1
# What decant build does, as a Dockerfile.

FROM nginx
COPY --chmod=u=rwX,go=rX ["my site/[[]v1][*]/", "/srv/www/"]
ENV A=1
ENV EMPTY=""
ENV URL="https://x.example/?a=b&c"
ENV ODD=""
LABEL a=1
LABEL b="two words"
LABEL org.x/y="say \"\$HOME\" \\n"
EXPOSE 8080
EXPOSE 53/udp
USER 101:101
